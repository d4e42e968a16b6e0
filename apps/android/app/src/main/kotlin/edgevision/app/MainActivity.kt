package edgevision.app

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.Button
import android.widget.FrameLayout
import android.widget.LinearLayout

/** Three tabs. */
class MainActivity : Activity() {
    private val work = Work(this)
    private lateinit var caption: CaptionTab

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val models = Models(this)
        caption = CaptionTab(this, models, work)
        val tabs = listOf(
            "Caption" to caption.view, "Digits" to DigitsTab(this, models, work).view,
            "Write" to WriteTab(this, models, work).view
        )
        val pages = FrameLayout(this)
        val bar = LinearLayout(this)
        for ((name, page) in tabs) {
            pages.addView(page)
            bar.addView(button(name) { show(page, tabs.map { it.second }) }, LinearLayout.LayoutParams(0, WRAP_CONTENT, 1f))
        }
        show(tabs[0].second, tabs.map { it.second })
        setContentView(column(pages.filling(), bar).apply { fitsSystemWindows = true })
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        if (result == RESULT_OK) caption.chosen(request, data)
    }

    override fun onDestroy() {
        work.close()
        super.onDestroy()
    }

    private fun show(page: View, pages: List<View>) = pages.forEach {
        it.visibility = if (it === page) View.VISIBLE else View.GONE
    }
}

fun Activity.button(name: String, press: () -> Unit) = Button(this).apply {
    text = name
    setOnClickListener { press() }
}

fun Activity.column(vararg parts: View) = LinearLayout(this).apply {
    orientation = LinearLayout.VERTICAL
    val edge = (12 * resources.displayMetrics.density).toInt()
    setPadding(edge, edge, edge, edge)
    parts.forEach { addView(it) }
}

/** Takes the room that the others in its column leave. */
fun <T : View> T.filling(): T = apply { layoutParams = LinearLayout.LayoutParams(MATCH_PARENT, 0, 1f) }
