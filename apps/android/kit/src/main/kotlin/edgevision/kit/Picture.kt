package edgevision.kit

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** Pixels of 8 bits, row by row: one channel is grey, three are red, green and blue. */
class Picture(val width: Int, val height: Int, val channels: Int, val bytes: ByteArray) {
    init {
        require(bytes.size == width * height * channels)
    }

    /** As `edgevision` makes it of what it is given: the numbers are those of Pillow, to the last bit. */
    fun resized(newWidth: Int, newHeight: Int, filter: Filter = Filter.BILINEAR): Picture {
        var picture = this
        if (newWidth != width) picture = picture.acrossColumns(Weights(width, newWidth, filter))
        if (newHeight != height) picture = picture.acrossRows(Weights(height, newHeight, filter))
        return picture
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

/** Pillow's weights: an antialiased filter, for 8 bits in whole numbers with 22 bits behind the point. */
internal class Weights(size: Int, val count: Int, filter: Filter) {
    val first = IntArray(count)
    val exact: List<DoubleArray>
    private val whole: List<IntArray>

    init {
        val scale = size.toDouble() / count
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

    private companion object {
        const val BITS = 22
    }
}
