package edgevision.kit

/** models.json, which `edgevision app` writes beside the models: what the files are for. */
class Contents(json: String) {
    val digits: Digits?
    val caption: Caption?
    val write: Write?

    /** A classifier of grey digits of side x side pixels. */
    class Digits(val labels: List<String>, val side: Int)

    /** A captioner; limit: tokens of a sentence, its end included; side: pixels of a picture. */
    class Caption(val start: Int, val end: Int, val limit: Int, val side: Int)

    /** A language model; context: the most tokens. */
    class Write(val ends: List<Int>, val context: Int)

    init {
        val file = parseJson(json).entries()
        if (file["format"] != 1.0) throw Failure("models.json is of another version: write the project anew.")
        digits = file["digits"]?.entries()?.let { Digits(it["labels"].items().map { label -> label.text() }, it["side"].whole()) }
        caption = file["caption"]?.entries()?.let {
            Caption(it["start"].whole(), it["end"].whole(), it["limit"].whole(), it["side"].whole())
        }
        write = file["write"]?.entries()?.let { Write(it["ends"].items().map { end -> end.whole() }, it["context"].whole()) }
    }
}
