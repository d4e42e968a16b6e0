package edgevision.kit

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

/** A decoder in the midst of R sentences about one picture. */
interface Rows {
    /** One more token for each of the R sentences, to the logits (R, V) of the next. */
    fun next(tokens: List<Int>): List<FloatArray>

    /** Go on with these of the rows; some may be left out, some taken twice. */
    fun reorder(rows: List<Int>)
}

/** One sentence: tokens without the first and the end token; `cut` where the limit came before the end. */
data class Sentence(val tokens: List<Int>, val score: Double, val cut: Boolean)

/**
 * The best `beams` sentences, best first: the beam search of `edgevision caption --beams`, which is that of
 * Hugging Face's `generate` with `early_stopping=False`.
 *
 * @param limit tokens, the end token included.
 * @param penalty power of the length that scores are divided by.
 * @param distinct no sequence of that many tokens occurs twice; 0 for any.
 */
fun search(
    rows: Rows, start: Int, end: Int, beams: Int, limit: Int, penalty: Double = 1.0, distinct: Int = 0
): List<Sentence> {
    var running = List(beams) { listOf(start) }
    var scores = List(beams) { if (it == 0) 0.0 else -1e9 }  // all rows are the same yet: one counts
    var finished = listOf<Pair<Double, List<Int>>>()
    for (length in 1..max(limit, 1)) {
        val known = rows.next(running.map { it.last() }).map { logSoftmax(it) }
        if (distinct > 0) {
            running.forEachIndexed { row, text ->
                repeated(text, distinct).forEach { known[row][it] = Double.NEGATIVE_INFINITY }
            }
        }
        val vocabulary = known[0].size
        val total = DoubleArray(beams * vocabulary) { scores[it / vocabulary] + known[it / vocabulary][it % vocabulary] }
        val going = ArrayList<Int>()
        val ended = finished.toMutableList()
        highest(total, min(2 * beams, total.size)).forEachIndexed { rank, place ->
            if (place % vocabulary == end || length == limit) {
                val tokens = running[place / vocabulary] + place % vocabulary
                if (rank < beams) ended.add(Pair(total[place] / length.toDouble().pow(penalty), tokens))
            } else if (going.size < beams) {
                going.add(place)
            }
        }
        finished = ended.sortedByDescending { it.first }.take(beams)
        if (length == limit || going.isEmpty()) break
        running = going.map { running[it / vocabulary] + it % vocabulary }
        scores = going.map { total[it] }
        val hope = scores[0] / length.toDouble().pow(penalty)
        if (finished.size == beams && hope <= finished.last().first) break
        rows.reorder(going.map { it / vocabulary })
    }
    return finished.map { (score, tokens) ->
        Sentence(tokens.drop(1).filter { it != end }, score, tokens.last() != end)
    }
}

/** `count` sentences, drawn token by token; a temperature of 0 takes the most probable each time. */
fun draw(
    rows: Rows, start: Int, end: Int, limit: Int, sampling: Sampling = Sampling(), count: Int = 1
): List<Sentence> {
    val samplers = List(count) { Sampler(sampling, it) }
    val texts = List(count) { ArrayList<Int>() }
    val sums = DoubleArray(count)
    val tokens = MutableList(count) { start }
    for (step in 0 until limit) {
        val open = texts.indices.filter { texts[it].lastOrNull() != end }
        if (open.isEmpty()) break
        val logits = rows.next(tokens)
        for (row in open) {
            tokens[row] = samplers[row].choose(logits[row], texts[row])
            sums[row] += logSoftmax(logits[row])[tokens[row]]
            texts[row].add(tokens[row])
        }
    }
    return texts.mapIndexed { row, text ->
        Sentence(text.filter { it != end }, sums[row] / text.size, text.last() != end)
    }
}

internal fun logSoftmax(logits: FloatArray): DoubleArray {
    val most = logits.fold(Float.NEGATIVE_INFINITY) { a, b -> max(a, b) }.toDouble()
    val sum = ln(logits.fold(0.0) { sum, logit -> sum + exp(logit - most) })
    return DoubleArray(logits.size) { logits[it] - most - sum }
}

/** Tokens that would repeat a sequence of `length` tokens of the text. */
private fun repeated(text: List<Int>, length: Int): List<Int> {
    val tail = text.takeLast(length - 1)
    return (0..text.size - length).filter { text.subList(it, it + length - 1) == tail }.map { text[it + length - 1] }
}
