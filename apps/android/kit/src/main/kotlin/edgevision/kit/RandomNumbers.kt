package edgevision.kit

import java.math.BigInteger

/** The draws of `numpy.random.default_rng((seed, index))`: PCG64 (O'Neill, 2014) seeded by a `SeedSequence`. */
class RandomNumbers(seed: Int, index: Int = 0) {
    private val increment: BigInteger
    private var state: BigInteger

    init {
        val words = seedWords(intArrayOf(seed, index), 8)
        fun wide(first: Int) = listOf(first + 1, first, first + 3, first + 2).fold(BigInteger.ZERO) { sum, place ->
            sum.shiftLeft(32).or(BigInteger.valueOf(words[place].toLong() and 0xFFFFFFFFL))
        }
        increment = wide(4).shiftLeft(1).or(BigInteger.ONE).and(MASK)
        state = increment.add(wide(0)).and(MASK)
        step()
    }

    /** A number in [0, 1) with 53 bits. */
    fun next(): Double {
        step()
        val bits = java.lang.Long.rotateRight(
            state.shiftRight(64).toLong() xor state.toLong(), state.shiftRight(122).toInt()
        )
        return (bits ushr 11) * (1.0 / (1L shl 53))
    }

    private fun step() {
        state = state.multiply(MULTIPLIER).add(increment).and(MASK)
    }

    private companion object {
        val MASK: BigInteger = BigInteger.ONE.shiftLeft(128).subtract(BigInteger.ONE)
        val MULTIPLIER = BigInteger("2360ed051fc65da44385df649fccf645", 16)
    }
}

/** NumPy's `SeedSequence`: spreads a few numbers over a pool of 4 words of 32 bits, and gives words of it. */
private fun seedWords(entropy: IntArray, count: Int): IntArray {
    var constant = 0x43b0d7e5
    fun hashed(word: Int): Int {
        var value = word xor constant
        constant *= 0x931e8875.toInt()
        value *= constant
        return value xor (value ushr 16)
    }
    fun mixed(x: Int, y: Int): Int {
        val value = 0xca01f9dd.toInt() * x - 0x4973f715 * y
        return value xor (value ushr 16)
    }
    val pool = IntArray(4) { hashed(if (it < entropy.size) entropy[it] else 0) }
    for (source in 0 until 4) {
        for (target in 0 until 4) {
            if (source != target) pool[target] = mixed(pool[target], hashed(pool[source]))
        }
    }
    constant = 0x8b51f9dd.toInt()
    return IntArray(count) {
        var value = pool[it % 4] xor constant
        constant *= 0x58f38ded
        value *= constant
        value xor (value ushr 16)
    }
}
