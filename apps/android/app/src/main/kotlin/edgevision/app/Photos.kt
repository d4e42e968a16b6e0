package edgevision.app

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import android.graphics.Matrix
import android.media.ExifInterface
import android.net.Uri
import edgevision.kit.Failure
import edgevision.kit.Picture

private const val LONGEST = 4096

/** A photo upright; beyond 4,096 pixels a side it is made smaller while it is read, so that it fits the memory. */
fun ContentResolver.photo(uri: Uri): Bitmap {
    val options = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    stream(uri).use { BitmapFactory.decodeStream(it, null, options) }
    options.inJustDecodeBounds = false
    options.inSampleSize = 1
    while (maxOf(options.outWidth, options.outHeight) / options.inSampleSize > LONGEST) options.inSampleSize *= 2
    val turn = stream(uri).use { ExifInterface(it).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1) }
    val read = stream(uri).use { BitmapFactory.decodeStream(it, null, options) }
        ?: throw Failure("This is not a picture that can be read.")
    return upright(read, turn)
}

private fun ContentResolver.stream(uri: Uri) = openInputStream(uri) ?: throw Failure("The picture is not there.")

/** Turned and mirrored as its EXIF entry says. */
private fun upright(bitmap: Bitmap, orientation: Int): Bitmap {
    val matrix = Matrix()
    if (orientation in listOf(2, 4, 5, 7)) matrix.postScale(-1f, 1f)
    matrix.postRotate(mapOf(3 to 180f, 4 to 180f, 5 to 270f, 6 to 90f, 7 to 90f, 8 to 270f)[orientation] ?: 0f)
    if (matrix.isIdentity) return bitmap
    return Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, matrix, false)
}

/** Red, green and blue as the file has them, clear parts on white. */
fun Bitmap.picture(): Picture {
    val pixels = IntArray(width * height)
    getPixels(pixels, 0, width, 0, 0, width, height)
    val bytes = ByteArray(pixels.size * 3)
    pixels.forEachIndexed { place, pixel ->
        val clear = 255 - Color.alpha(pixel)
        listOf(Color.red(pixel), Color.green(pixel), Color.blue(pixel)).forEachIndexed { channel, value ->
            bytes[place * 3 + channel] = ((value * (255 - clear) + 255 * clear + 127) / 255).toByte()
        }
    }
    return Picture(width, height, 3, bytes)
}
