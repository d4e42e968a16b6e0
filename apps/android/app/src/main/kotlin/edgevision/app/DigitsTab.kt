package edgevision.app

import android.app.Activity
import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.Path
import android.view.MotionEvent
import android.view.View
import android.widget.TextView
import edgevision.kit.Picture
import edgevision.kit.digit

/** A canvas for a digit; the probabilities move while it is drawn. */
class DigitsTab(activity: Activity, private val models: Models, private val work: Work) {
    private val found = TextView(activity).apply { typeface = android.graphics.Typeface.MONOSPACE }
    private val drawing = Drawing(activity) { look() }
    private var busy = false
    private var again = false

    val view: View = activity.column(
        drawing.filling(), found,
        activity.button("Clear") {
            drawing.clear()
            found.text = ""
        }
    )

    /** One picture at a time: what is drawn meanwhile is looked at next. */
    private fun look() {
        again = busy
        if (busy) return
        busy = true
        val picture = drawing.picture()
        work.start({
            val digit = picture.digit()
            if (digit == null) "" else models.contents.digits?.labels.orEmpty().zip(models.classify(digit))
                .joinToString("\n") { (label, share) -> "%s %5.1f %%  %s".format(label, share * 100, "█".repeat((share * 20).toInt())) }
        }, { finish(it) }, { finish(it) })
    }

    private fun finish(text: String) {
        found.text = text
        busy = false
        if (again) look()
    }
}

private const val SIDE = 280

/** White lines on black. */
private class Drawing(context: Context, private val changed: () -> Unit) : View(context) {
    private val path = Path()
    private val pen = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        color = Color.WHITE
        style = Paint.Style.STROKE
        strokeCap = Paint.Cap.ROUND
        strokeJoin = Paint.Join.ROUND
        strokeWidth = 22f
    }

    init {
        contentDescription = "Draw a digit here"
    }

    fun clear() {
        path.reset()
        invalidate()
    }

    /** The drawing in grey. */
    fun picture(): Picture {
        val bitmap = Bitmap.createBitmap(SIDE, SIDE, Bitmap.Config.ARGB_8888)
        paint(Canvas(bitmap))
        val pixels = IntArray(SIDE * SIDE)
        bitmap.getPixels(pixels, 0, SIDE, 0, 0, SIDE, SIDE)
        return Picture(SIDE, SIDE, 1, ByteArray(pixels.size) { Color.red(pixels[it]).toByte() })
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        val scale = minOf(width, height) / SIDE.toFloat()
        canvas.scale(scale, scale)
        canvas.clipRect(0, 0, SIDE, SIDE)
        paint(canvas)
    }

    override fun onTouchEvent(event: MotionEvent): Boolean {
        val scale = SIDE / minOf(width, height).toFloat()
        val (x, y) = Pair(event.x * scale, event.y * scale)
        when (event.actionMasked) {
            MotionEvent.ACTION_DOWN -> {
                path.moveTo(x, y)
                path.lineTo(x + 0.1f, y)
            }
            MotionEvent.ACTION_MOVE -> path.lineTo(x, y)
            else -> return super.onTouchEvent(event)
        }
        invalidate()
        changed()
        return true
    }

    private fun paint(canvas: Canvas) {
        canvas.drawColor(Color.BLACK)
        canvas.drawPath(path, pen)
    }
}
