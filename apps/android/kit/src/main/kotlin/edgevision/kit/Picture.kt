package edgevision.kit

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** Pixels of 8 bits, row by row: one channel is grey, three are red, green and blue. */
class Picture(val width: Int, val height: Int, val channels: Int, val bytes: ByteArray) {
    init {
        require(bytes.size == width * height * channels)
    }

    /**
     * Pillow's resize, to the last bit of version 13: antialiased, rounded to 8 bits after the columns and after the rows.
     *
     * @param gap whole blocks are averaged first, so that this many times the new size is left to be weighed.
     */
    fun resized(newWidth: Int, newHeight: Int, filter: Filter, gap: Double? = null): Picture {
        if (newWidth == width && newHeight == height) return this
        fun block(old: Int, new: Int) = if (gap == null) 1 else max((old.toDouble() / new / gap).toInt(), 1)
        val wide = block(width, newWidth)
        val high = block(height, newHeight)
        val picture = averaged(wide, high)
        val columns = Weights(width.toFloat() / wide, picture.width, newWidth, filter)
        val rows = Weights(height.toFloat() / high, picture.height, newHeight, filter)
        fun Picture.acrossColumnsIfNeeded() = if (newWidth == this@Picture.width) this else acrossColumns(columns)
        fun Picture.acrossRowsIfNeeded() = if (newHeight == this@Picture.height) this else acrossRows(rows)
        return if (isMuchHigher(picture.width, picture.height, newWidth, newHeight)) {
            picture.acrossRowsIfNeeded().acrossColumnsIfNeeded()
        } else {
            picture.acrossColumnsIfNeeded().acrossRowsIfNeeded()
        }
    }

    /** The whole picture in a square, as a captioner sees it. */
    fun squeezed(side: Int) = resized(side, side, Filter.BICUBIC, 3.0)

    /** The mean of each block of wide x high pixels; at the right and below, of what there is. */
    private fun averaged(wide: Int, high: Int): Picture {
        if (wide == 1 && high == 1) return this
        val newWidth = (width + wide - 1) / wide
        val newHeight = (height + high - 1) / high
        val new = ByteArray(newWidth * newHeight * channels) {
            val row = it / channels / newWidth
            val column = it / channels % newWidth
            val down = min(high, height - row * high)
            val across = min(wide, width - column * wide)
            var sum = (down * across / 2).toLong()
            for (y in 0 until down) for (x in 0 until across) {
                sum += bytes[((row * high + y) * width + column * wide + x) * channels + it % channels].toInt() and 255
            }
            val share = ((1L shl 32).toFloat() / (256 * down * across)).toLong()
            ((sum * share) shr 24).toByte()
        }
        return Picture(newWidth, newHeight, channels, new)
    }

    /** The bytes as float32 in [0, 1], (value - mean) / std, as (channels, height, width). */
    fun planes(mean: FloatArray = FloatArray(channels), std: FloatArray = FloatArray(channels) { 1f }): FloatArray {
        val size = width * height
        return FloatArray(size * channels) {
            val channel = it / size
            ((bytes[it % size * channels + channel].toInt() and 255) / 255f - mean[channel]) / std[channel]
        }
    }

    private fun acrossColumns(weights: Weights): Picture {
        val new = ByteArray(weights.count * height * channels)
        for (row in 0 until height) for (column in 0 until weights.count) {
            val start = (row * width + weights.first[column]) * channels
            for (channel in 0 until channels) {
                new[(row * weights.count + column) * channels + channel] =
                    weights.sum(column, bytes, start + channel, channels)
            }
        }
        return Picture(weights.count, height, channels, new)
    }

    private fun acrossRows(weights: Weights): Picture {
        val line = width * channels
        val new = ByteArray(weights.count * line)
        for (row in 0 until weights.count) for (place in 0 until line) {
            new[row * line + place] = weights.sum(row, bytes, weights.first[row] * line + place, line)
        }
        return Picture(width, weights.count, channels, new)
    }
}

/** Whether Pillow, since version 13, begins with the rows: where more than twice as many rows as columns go. */
internal fun isMuchHigher(width: Int, height: Int, newWidth: Int, newHeight: Int) =
    height > newHeight && height - newHeight > 2 * (width - newWidth)

/** How neighbours are weighed; `reach` is in pixels of the smaller of both pictures. */
enum class Filter(val reach: Double) {
    BOX(0.5) {
        override fun weight(distance: Double) = if (distance > -0.5 && distance <= 0.5) 1.0 else 0.0
    },
    BILINEAR(1.0) {
        override fun weight(distance: Double) = if (abs(distance) < 1) 1 - abs(distance) else 0.0
    },
    BICUBIC(2.0) {
        override fun weight(distance: Double): Double {
            val x = abs(distance)
            val a = -0.5
            if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
            return if (x < 2) (((x - 5) * x + 8) * x - 4) * a else 0.0
        }
    };

    abstract fun weight(distance: Double): Double
}

/**
 * Pillow's weights: an antialiased filter, for 8 bits in whole numbers with 22 bits behind the point.
 *
 * @param extent of the old pixels, the part that counts; the last may count in part.
 */
internal class Weights(extent: Float, size: Int, val count: Int, filter: Filter) {
    val first = IntArray(count)
    val exact: List<DoubleArray>
    private val whole: List<IntArray>

    init {
        val scale = extent.toDouble() / count
        val stretch = max(scale, 1.0)
        val reach = filter.reach * stretch
        exact = List(count) { place ->
            val centre = (place + 0.5) * scale
            first[place] = max((centre - reach + 0.5).toInt(), 0)
            val end = min((centre + reach + 0.5).toInt(), size)
            val weights = DoubleArray(end - first[place]) {
                filter.weight((it + first[place] - centre + 0.5) * (1 / stretch))
            }
            val sum = weights.sum()
            if (sum == 0.0) weights else DoubleArray(weights.size) { weights[it] / sum }
        }
        whole = exact.map { row ->
            IntArray(row.size) { (row[it] * (1 shl BITS) + if (row[it] < 0) -0.5 else 0.5).toInt() }
        }
    }

    fun sum(place: Int, bytes: ByteArray, start: Int, step: Int): Byte {
        var total = 1 shl (BITS - 1)
        var at = start
        for (weight in whole[place]) {
            total += (bytes[at].toInt() and 255) * weight
            at += step
        }
        return min(max(total shr BITS, 0), 255).toByte()
    }

    fun sum(place: Int, values: FloatArray, start: Int, step: Int): Float {
        var total = 0.0
        exact[place].forEachIndexed { offset, weight -> total += values[start + offset * step] * weight }
        return total.toFloat()
    }

    private companion object {
        const val BITS = 22
    }
}
