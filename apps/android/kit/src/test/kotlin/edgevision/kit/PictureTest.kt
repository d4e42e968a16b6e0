package edgevision.kit

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class PictureTest {
    @Test
    fun pixelsArePillows() {
        for (fixture in Fixtures.list("pictures")) {
            val picture = Fixtures.picture(fixture)
            for (entry in fixture["resized"].items().map { it.entries() }) {
                val filter = Filter.values().first { it.name.equals(entry["filter"].text(), ignoreCase = true) }
                val made = picture.resized(entry["width"].whole(), entry["height"].whole(), filter)
                assertArrayEquals("${fixture["name"]} $filter", entry["bytes"].bytes(), made.bytes)
            }
            for (entry in fixture["seen"].items().map { it.entries() }) {
                assertArrayEquals(entry["bytes"].bytes(), picture.squeezed(entry["side"].whole()).bytes)
            }
        }
    }

    @Test
    fun digitsArePythons() {
        for (fixture in Fixtures.list("digits")) {
            assertArrayEquals(fixture["name"].text(), fixture["digit"].bytes(), Fixtures.picture(fixture).digit()!!.bytes)
        }
        assertNull(Picture(50, 40, 1, ByteArray(2000)).digit())
    }

    @Test
    fun planesOfColours() {
        val picture = Picture(2, 1, 3, byteArrayOf(0, 51, -1, -1, 0, 51))
        assertArrayEquals(floatArrayOf(0f, 1f, 0.2f, 0f, 1f, 0.2f), picture.planes(), 0f)
        val moved = picture.planes(floatArrayOf(0.5f, 0f, 0f), floatArrayOf(0.5f, 1f, 1f))
        assertArrayEquals(floatArrayOf(-1f, 1f), moved.copyOf(2), 0f)
    }
}
