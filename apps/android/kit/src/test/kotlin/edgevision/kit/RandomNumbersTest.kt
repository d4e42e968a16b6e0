package edgevision.kit

import org.junit.Assert.assertEquals
import org.junit.Test

class RandomNumbersTest {
    @Test
    fun drawsAreNumPys() {
        val random = RandomNumbers(5, 3)
        assertEquals(0.7118248657721978, random.next(), 0.0)
        assertEquals(0.0449808645727906, random.next(), 0.0)
        assertEquals(0.639093666561746, random.next(), 0.0)
    }
}
