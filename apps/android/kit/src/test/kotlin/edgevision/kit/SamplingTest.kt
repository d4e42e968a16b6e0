package edgevision.kit

import org.junit.Assert.assertEquals
import org.junit.Assert.fail
import org.junit.Test

class SamplingTest {
    @Test
    fun drawsAreNumPys() {
        for (entry in Fixtures.list("draws")) {
            val random = RandomNumbers(entry["seed"].whole(), entry["index"].whole())
            assertEquals(entry["draws"], entry["draws"].items().map { random.next() })
        }
    }

    @Test
    fun tokensArePythons() {
        val fixture = Fixtures.entry("sampling")
        val logits = fixture["logits"].table()
        for (run in fixture["runs"].items()) {
            val sampler = Sampler(run.sampling())
            val tokens = ArrayList<Int>()
            repeat(run.entries()["tokens"].items().size) { tokens.add(sampler.choose(logits[it % logits.size], tokens)) }
            assertEquals(run.entries()["tokens"].wholes(), tokens)
        }
    }

    @Test
    fun theHighestInOrder() {
        val scores = DoubleArray(1000) { (it * 7919 % 101).toDouble() }
        val sorted = scores.indices.sortedBy { -scores[it] * 1000 + it }
        for (count in listOf(1, 3, 40, 249, 251, 1000)) assertEquals(sorted.take(count), highest(scores, count))
    }

    @Test
    fun whatIsNoNumberIsRefused() {
        val infinite = Float.POSITIVE_INFINITY
        for (logits in listOf(floatArrayOf(1f, Float.NaN), floatArrayOf(-infinite, -infinite), floatArrayOf(infinite, 0f))) {
            refused { Sampler(Sampling()).choose(logits, listOf()) }
        }
    }
}

internal fun refused(act: () -> Unit) {
    try {
        act()
    } catch (expected: Failure) {
        return
    }
    fail("it was taken")
}
