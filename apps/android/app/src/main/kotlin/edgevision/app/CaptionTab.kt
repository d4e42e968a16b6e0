package edgevision.app

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.graphics.Bitmap
import android.provider.MediaStore
import android.view.View
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.SeekBar
import android.widget.TextView

private const val FILE = 1
private const val CAMERA = 2

/** A picture from the device or the camera, and a sentence about it. */
class CaptionTab(private val activity: Activity, private val models: Models, private val work: Work) {
    private val photo = ImageView(activity)
    private val text = TextView(activity).apply {
        textSize = 20f
        setTextIsSelectable(true)
    }
    private val beams = SeekBar(activity).apply {
        max = 7
        progress = 2
        contentDescription = "Sentences side by side"
    }

    val view: View = activity.column(
        photo.filling(), text, beams,
        LinearLayout(activity).apply {
            addView(activity.button("Choose") { ask(FILE, Intent(Intent.ACTION_GET_CONTENT).setType("image/*")) })
            addView(activity.button("Camera") { ask(CAMERA, Intent(MediaStore.ACTION_IMAGE_CAPTURE)) })
        }
    )

    /** What another app gave for what was asked. The camera's small picture is larger than models look at. */
    fun chosen(request: Int, data: Intent?) {
        val uri = data?.data
        val taken = data?.extras?.get("data") as? Bitmap
        if (request == CAMERA && taken != null) say { taken }
        if (request == FILE && uri != null) say { activity.contentResolver.photo(uri) }
    }

    private fun ask(request: Int, intent: Intent) = try {
        activity.startActivityForResult(intent, request)
    } catch (none: ActivityNotFoundException) {
        text.text = "The device has no app for that."
    }

    private fun say(read: () -> Bitmap) {
        val count = beams.progress + 1
        text.text = "…"
        work.start({
            val bitmap = read()
            work.show {
                photo.setImageBitmap(bitmap)
                photo.contentDescription = "The chosen picture"
            }
            models.caption(bitmap.picture(), count)
        }, { text.text = it }, { text.text = it })
    }
}
