package edgevision.kit

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class BeamTest {
    private val sentences = Fixtures.entry("sentences")
    private val texts = Fixtures.entry("texts")
    private val tokenizer = BytePairs(Fixtures.text(texts["tokenizer"].text()))

    @Test
    fun sentencesByBeamsArePythons() {
        for (entry in sentences["beams"].items().map { it.entries() }) {
            val found = search(
                Table(sentences["table"].table(), entry["beams"].whole()), sentences["start"].whole(), sentences["end"].whole(),
                entry["beams"].whole(), entry["limit"].whole(), entry["penalty"].number(), entry["distinct"].whole()
            )
            assertSame(entry["found"], found)
        }
    }

    @Test
    fun drawnSentencesArePythons() {
        for (entry in sentences["draws"].items().map { it.entries() }) {
            val count = entry["count"].whole()
            val found = draw(
                Table(sentences["table"].table(), count), sentences["start"].whole(), sentences["end"].whole(),
                entry["limit"].whole(), entry["sampling"].sampling(), count
            )
            assertSame(entry["found"], found)
        }
    }

    @Test
    fun textsArePythons() {
        for (run in texts["runs"].items().map { it.entries() }) {
            var shown = ""
            val model = Contents.Write(listOf(texts["end"].whole()), run["context"].whole())
            val (text, stop) = write(
                run["prompt"].text(), TableEngine(texts["table"].table()), tokenizer, model, run["sampling"].sampling(),
                run["limit"].whole()
            ) {
                assertTrue(it.startsWith(shown))
                shown = it
                true
            }
            assertEquals(run["text"], text)
            assertTrue(stop.name.equals(run["stop"].text(), ignoreCase = true))
        }
    }

    @Test
    fun writingStopsWhenAsked() {
        val engine = TableEngine(texts["table"].table())
        assertEquals(3, write("The", engine, tokenizer, Contents.Write(listOf(), 100)) { it.length < 3 }.first.length)
    }

    @Test
    fun aPromptThatDoesNotFitIsRefused() {
        val engine = TableEngine(texts["table"].table())
        refused { write("The cat", engine, tokenizer, Contents.Write(listOf(0), 7)) }
        refused { write("", engine, tokenizer, Contents.Write(listOf(), 7)) }
    }

    private fun assertSame(expected: Any?, found: List<Sentence>) {
        val entries = expected.items().map { it.entries() }
        assertEquals(entries.map { it["tokens"].wholes() }, found.map { it.tokens })
        assertEquals(entries.map { it["cut"] }, found.map { it.cut })
        entries.zip(found).forEach { (entry, sentence) -> assertEquals(entry["score"].number(), sentence.score, 1e-9) }
    }
}
