package edgevision.kit

import org.junit.Assert.assertEquals
import org.junit.Test

class BytePairsTest {
    @Test
    fun textsAndTokensArePythons() {
        for (fixture in Fixtures.list("tokenizers")) {
            val tokenizer = BytePairs(Fixtures.text(fixture["file"].text()))
            assertEquals(fixture["size"].whole(), tokenizer.size)
            for (entry in fixture["texts"].items().map { it.entries() }) {
                assertEquals(entry["text"].text(), entry["tokens"].wholes(), tokenizer.encode(entry["text"].text()))
                assertEquals(entry["back"], tokenizer.decode(entry["tokens"].wholes()))
            }
            for (entry in fixture["tokens"].items().map { it.entries() }) {
                assertEquals(entry["text"], tokenizer.decode(entry["tokens"].wholes()))
            }
            for (text in fixture["refused"].items()) refused { tokenizer.encode(text.text()) }
        }
    }

    @Test
    fun aLongWordComesBack() {
        val tokenizer = BytePairs(Fixtures.text("bpe-tokenizer.json"))
        val long = "the".repeat(3000)
        assertEquals(long, tokenizer.decode(tokenizer.encode(long)))
    }

    @Test
    fun otherTokenizersAreRefused() {
        fun made(normalizer: String, kind: String, merges: String) = """
            {"added_tokens": [], "normalizer": $normalizer, "pre_tokenizer": {"type": "$kind"},
             "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": $merges}}"""
        BytePairs(made("null", "ByteLevel", "[]"))
        refused { BytePairs(made("{\"type\": \"NFC\"}", "ByteLevel", "[]")) }
        refused { BytePairs(made("null", "Metaspace", "[]")) }
        refused { BytePairs(made("null", "ByteLevel", "[[\"a\", \"b\"]]")) }
        refused { BytePairs("no json") }
    }
}
