package edgevision.kit

import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/**
 * A drawn digit as MNIST has it, and as `edgevision classify` makes it: white on black, cut out, its longer side
 * scaled to 20 of 28 pixels, its centre of mass in the middle. Null where nothing is drawn.
 *
 * The picture is grey, clean white on black, as a canvas gives it; 28 x 28 pixels are taken as they are.
 */
fun Picture.digit(side: Int = 28): Picture? {
    require(channels == 1)
    val grey = bytes.map { it.toInt() and 255 }
    val most = grey.fold(0) { a, b -> max(a, b) }
    if (most < 8) return null
    if (width == side && height == side) return this
    val ink = grey.map { if (it < 0.08 * most) 0.0 else it.toDouble() / most }
    val rows = (0 until height).filter { row -> (0 until width).any { ink[row * width + it] > 0.25 } }
    val columns = (0 until width).filter { column -> (0 until height).any { ink[it * width + column] > 0.25 } }
    val (top, left) = Pair(rows.first(), columns.first())
    val (high, wide) = Pair(rows.last() - top + 1, columns.last() - left + 1)
    val cut = FloatArray(high * wide) { ink[(top + it / wide) * width + left + it % wide].toFloat() }

    val scale = 20.0 * side / 28 / max(high, wide)
    val fitWide = max(1, round(wide * scale).toInt())
    val fitHigh = max(1, round(high * scale).toInt())
    val small = scaled(cut, wide, high, fitWide, fitHigh, if (scale > 1) Filter.BICUBIC else Filter.BOX)
    val peak = max(small.fold(0f) { a, b -> max(a, b) }.toDouble(), 1e-6)
    return placed(small.map { min(max(it / peak, 0.0), 1.0) }, fitWide, fitHigh, side)
}

/** In the middle of side x side pixels by its centre of mass. */
private fun placed(ink: List<Double>, width: Int, height: Int, side: Int): Picture {
    val mass = ink.sum()
    val y = ink.indices.fold(0.0) { sum, place -> sum + ink[place] * (place / width) } / mass
    val x = ink.indices.fold(0.0) { sum, place -> sum + ink[place] * (place % width) } / mass
    fun start(centre: Double, length: Int) = min(max(round(side / 2.0 - centre).toInt(), 0), side - length)
    val bytes = ByteArray(side * side)
    for (place in ink.indices) {
        val target = (start(y, height) + place / width) * side + start(x, width) + place % width
        bytes[target] = round(ink[place] * 255).toInt().toByte()
    }
    return Picture(side, side, 1, bytes)
}

/** Pillow's resize of numbers that are no bytes. */
private fun scaled(
    values: FloatArray, width: Int, height: Int, newWidth: Int, newHeight: Int, filter: Filter
): FloatArray {
    fun acrossColumns(values: FloatArray): FloatArray {
        val weights = Weights(width.toFloat(), width, newWidth, filter)
        return if (newWidth == width) values else FloatArray(values.size / width * newWidth) {
            weights.sum(it % newWidth, values, it / newWidth * width + weights.first[it % newWidth], 1)
        }
    }
    fun acrossRows(values: FloatArray): FloatArray {
        val weights = Weights(height.toFloat(), height, newHeight, filter)
        val line = values.size / height
        return if (newHeight == height) values else FloatArray(newHeight * line) {
            weights.sum(it / line, values, weights.first[it / line] * line + it % line, line)
        }
    }
    return if (isMuchHigher(width, height, newWidth, newHeight)) acrossColumns(acrossRows(values))
    else acrossRows(acrossColumns(values))
}
