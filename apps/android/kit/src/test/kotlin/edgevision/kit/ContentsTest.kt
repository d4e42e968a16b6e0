package edgevision.kit

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test
import kotlin.math.E

class ContentsTest {
    @Test
    fun whatAProjectHolds() {
        val read = Contents(
            """{"format": 1, "digits": {"labels": ["0"], "side": 28}, "write": {"ends": [3], "context": 64, "window": null},
                "caption": {"start": 1, "end": 2, "limit": 20, "side": 64}}"""
        )
        assertEquals(listOf("0"), read.digits?.labels)
        assertEquals(20, read.caption?.limit)
        assertEquals(listOf(3), read.write?.ends)
        assertNull(Contents("""{"format": 1}""").digits)
        for (damaged in listOf("""{"format": 9}""", """{"format": 1, "digits": {"side": 28}}""", "[1]")) refused { Contents(damaged) }
    }

    @Test
    fun jsonIsRead() {
        val text = """{"a": [1, -2.5e1, true, null], "b": {"\u0041\n\"": "\ud83d\ude00ü"}}"""
        assertEquals(mapOf("a" to listOf(1.0, -25.0, true, null), "b" to mapOf("A\n\"" to "😀ü")), parseJson(text))
        for (damaged in listOf("", "{", "[1,]", "{\"a\" 1}", "\"\\u12", "nul", "1 2", "\"a")) refused { parseJson(damaged) }
    }

    @Test
    fun probabilities() {
        val found = softmax(floatArrayOf(1000f, 999f, -1000f))
        assertEquals(1.0, found.sum(), 1e-12)
        assertEquals(E, found[0] / found[1], 1e-9)
    }
}
