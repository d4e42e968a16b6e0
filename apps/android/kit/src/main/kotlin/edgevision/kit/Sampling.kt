package edgevision.kit

import kotlin.math.exp
import kotlin.math.min

/**
 * How a token is drawn: the settings of `edgevision generate`, with the same meaning and the same draws.
 *
 * @property temperature 0 takes the most probable token; logits are divided by it else.
 * @property topK only that many most probable tokens; 0 for all.
 * @property topP the fewest tokens whose probabilities reach it; 1 for all.
 * @property minP tokens at least this share as probable as the most probable one; 0 for all.
 * @property repetitionPenalty above 1, tokens of the text so far become less probable.
 */
data class Sampling(
    val temperature: Double = 0.0,
    val topK: Int = 0,
    val topP: Double = 1.0,
    val minP: Double = 0.0,
    val repetitionPenalty: Double = 1.0,
    val seed: Int = 0
)

/** Draws the tokens of one text; `index` says which text of several. */
class Sampler(private val sampling: Sampling, index: Int = 0) {
    private val random = RandomNumbers(sampling.seed, index)

    /** The next token from logits (V), after the tokens of `text`. */
    fun choose(logits: FloatArray, text: List<Int>): Int {
        val scores = DoubleArray(logits.size) { logits[it].toDouble() }
        val best = scores.fold(Double.NEGATIVE_INFINITY) { most, score -> if (score.isNaN() || score > most) score else most }
        if (scores.any { it.isNaN() } || best.isInfinite()) throw Failure("The model gives values that are no numbers.")
        if (sampling.repetitionPenalty != 1.0) {
            for (token in text.toSet().filter { it in scores.indices }) {
                val penalty = sampling.repetitionPenalty
                scores[token] = if (scores[token] > 0) scores[token] / penalty else scores[token] * penalty
            }
        }
        if (sampling.temperature == 0.0) return highest(scores, 1)[0]
        val (kept, probabilities) = distribution(scores, sampling)
        val drawn = random.next()
        var sum = 0.0
        for (place in kept.indices) {
            sum += probabilities[place]
            if (sum > drawn) return kept[place]
        }
        return kept.last()
    }
}

/**
 * The tokens that may be drawn, most probable first, and their probabilities; from scores (V).
 * Temperature first, then top-k, top-p and min-p, each on what the one before left.
 */
internal fun distribution(scores: DoubleArray, sampling: Sampling): Pair<List<Int>, List<Double>> {
    var order = highest(scores, if (sampling.topK > 0) min(sampling.topK, scores.size) else scores.size)
    var shares = normalized(order.map { exp((scores[it] - scores[order[0]]) / sampling.temperature) })
    if (sampling.topP < 1) {
        var sum = 0.0
        var count = 0
        while (count < order.size && sum < sampling.topP) sum += shares[count++]
        order = order.take(count)
        shares = shares.take(count)
    }
    if (sampling.minP > 0) {
        shares = shares.takeWhile { it >= sampling.minP * shares[0] }  // they fall
        order = order.take(shares.size)
    }
    return Pair(order, normalized(shares))
}

internal fun normalized(values: List<Double>): List<Double> {
    val sum = values.sum()
    return values.map { it / sum }
}

/** The places of the `count` highest scores, highest first, earlier places first among equals. */
internal fun highest(scores: DoubleArray, count: Int): List<Int> {
    if (count * 4 > scores.size) return scores.indices.sortedByDescending { scores[it] + 0.0 }.take(count)
    val best = ArrayList<Int>()
    for (place in scores.indices) {
        if (best.size == count && scores[place] <= scores[best.last()]) continue
        if (best.size == count) best.removeAt(count - 1)
        var low = best.size
        while (low > 0 && scores[place] > scores[best[low - 1]]) low--
        best.add(low, place)
    }
    return best
}

/** Probabilities of logits. */
fun softmax(logits: FloatArray): List<Double> {
    val most = logits.fold(Float.NEGATIVE_INFINITY) { a, b -> if (b > a) b else a }
    return normalized(logits.map { exp(it.toDouble() - most) })
}
