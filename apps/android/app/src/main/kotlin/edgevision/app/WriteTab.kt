package edgevision.app

import android.app.Activity
import android.view.View
import android.widget.EditText
import android.widget.ScrollView
import android.widget.SeekBar
import android.widget.TextView
import edgevision.kit.Sampling
import edgevision.kit.Stop
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.random.Random

/** A beginning, and how the model goes on. */
class WriteTab(activity: Activity, private val models: Models, private val work: Work) {
    private val prompt = EditText(activity).apply { hint = "A beginning" }
    private val text = TextView(activity).apply { setTextIsSelectable(true) }
    private val speed = TextView(activity)
    private val temperature = SeekBar(activity).apply {
        max = 15
        progress = 8
        contentDescription = "Temperature, from 0 to 1.5"
    }
    private val running = AtomicBoolean()
    private val button = activity.button("Write") { if (!running.getAndSet(false)) start() }

    val view: View = activity.column(
        prompt, temperature, ScrollView(activity).apply { addView(text) }.filling(), speed, button
    )

    private fun start() {
        running.set(true)
        button.text = "Stop"
        speed.text = ""
        val beginning = prompt.text.toString()
        val sampling = Sampling(temperature.progress / 10.0, topP = 0.95, seed = Random.nextInt(1_000_000))
        val began = System.nanoTime()
        work.start({
            models.write(beginning, sampling) { now ->
                work.show { text.text = beginning + now }
                running.get()
            }
        }, { stop ->
            val seconds = (System.nanoTime() - began) / 1e9
            val full = if (stop == Stop.CONTEXT) ", as much as the model holds" else ""
            finish("%,d characters in %.1f s%s".format(text.text.length - beginning.length, seconds, full))
        }, { finish(it) })
    }

    private fun finish(message: String) {
        speed.text = message
        button.text = "Write"
        running.set(false)
    }
}
