package edgevision.kit

/**
 * Byte-level byte-pair encoding (Sennrich et al., 2016; GPT-2's alphabet of bytes) as a `tokenizer.json` holds it:
 * what `edgevision train` writes for characters and for byte pairs, and most small language models.
 */
class BytePairs(json: String) {
    private val numbers = HashMap<String, Int>()
    private val texts = HashMap<Int, String>()
    private val merges = HashMap<Pair<Int, Int>, Merge>()
    private val special: List<Pair<String, Int>>
    private val splits: Boolean
    private val alphabet: Set<Int>?

    private class Merge(val rank: Int, val token: Int)

    init {
        val file = parseJson(json).entries()
        val before = (file["pre_tokenizer"] ?: emptyMap<String, Any?>()).entries()
        val after = (file["decoder"] ?: emptyMap<String, Any?>()).entries()
        val model = file["model"].entries()
        if (file["normalizer"] != null || before["type"] != "ByteLevel" || after["type"] != "ByteLevel" ||
            before["add_prefix_space"] == true || (model["type"] ?: "BPE") != "BPE"
        ) throw Failure("The tokenizer is no byte-level BPE, the only kind that this app reads.")
        splits = before["use_regex"] != false
        for ((text, number) in model["vocab"].entries()) {
            numbers[text] = number.whole()
            texts[number.whole()] = text
        }
        special = file["added_tokens"].items().map { Pair(it.entries()["content"].text(), it.entries()["id"].whole()) }
            .sortedByDescending { it.first.length }
        for ((text, number) in special) texts[number] = text
        model["merges"].items().forEachIndexed { rank, entry ->
            val pair = if (entry is String) entry.split(" ") else entry.items().map { it.text() }
            val found = pair.map { numbers[it] }
            val token = numbers[pair.joinToString("")]
            if (found.size != 2 || found[0] == null || found[1] == null || token == null) {
                throw Failure("tokenizer.json is damaged: merge $rank is of unknown tokens.")
            }
            merges[Pair(found[0]!!, found[1]!!)] = Merge(rank, token)
        }
        alphabet = if (SYMBOLS.all { it.toString() in numbers }) null else numbers.keys
            .map { String(bytesOf(it), Charsets.UTF_8) }
            .filter { it.codePointCount(0, it.length) == 1 && it != "\uFFFD" }
            .map { it.codePointAt(0) }.toSet()
    }

    /** Number of tokens, special ones included. */
    val size = texts.size

    /** The tokens of a text; special tokens in it are recognised. */
    fun encode(text: String): List<Int> {
        val tokens = ArrayList<Int>()
        var place = 0
        var plain = 0
        while (place < text.length) {
            val found = special.firstOrNull { text.startsWith(it.first, place) }
            if (found == null) {
                place++
                continue
            }
            tokens += encodePlain(text.substring(plain, place))
            tokens.add(found.second)
            place += found.first.length
            plain = place
        }
        return tokens + encodePlain(text.substring(plain))
    }

    /** The text of tokens, special ones left out; bytes that are no text become U+FFFD. */
    fun decode(tokens: List<Int>): String {
        val hidden = special.map { it.second }.toSet()
        val bytes = tokens.filter { it !in hidden }.flatMap { bytesOf(texts[it] ?: "").asList() }
        return String(bytes.toByteArray(), Charsets.UTF_8)
    }

    private fun encodePlain(text: String): List<Int> {
        val points = codePoints(text)
        val strange = if (alphabet == null) null else points.firstOrNull { it !in alphabet }
        if (strange != null) {
            throw Failure("The model knows no character \"${String(Character.toChars(strange))}\": it was trained on others.")
        }
        return (if (splits) words(points) else listOf(points)).flatMap { merged(it) }
    }

    /** The pair of the lowest rank is joined, the leftmost first, until none is left. */
    private fun merged(word: List<Int>): List<Int> {
        val bytes = word.joinToString("") { String(Character.toChars(it)) }.toByteArray(Charsets.UTF_8)
        val tokens = bytes.map { numbers[SYMBOLS[it.toInt() and 255].toString()] }.filterNotNull().toMutableList()
        fun merge(place: Int) = if (place + 1 < tokens.size) merges[Pair(tokens[place], tokens[place + 1])] else null
        val found = tokens.indices.map { merge(it)?.rank ?: Int.MAX_VALUE }.toMutableList()
        while (true) {
            var place = 0
            for (other in found.indices) if (found[other] < found[place]) place = other
            val joined = (if (found.isEmpty()) null else merge(place)) ?: return tokens
            tokens[place] = joined.token
            tokens.removeAt(place + 1)
            found.removeAt(place + 1)
            for (near in listOf(place - 1, place)) if (near >= 0) found[near] = merge(near)?.rank ?: Int.MAX_VALUE
        }
    }
}

/** GPT-2's character for each byte: itself where it can be seen, else one from U+0100 on. */
private val SYMBOLS: List<Char> = run {
    var next = 0x100
    (0..255).map { if (it in 0x21..0x7E || it in 0xA1..0xAC || it in 0xAE..0xFF) it.toChar() else (next++).toChar() }
}

private val BYTES = SYMBOLS.withIndex().associate { (byte, symbol) -> symbol to byte.toByte() }

private fun bytesOf(token: String): ByteArray {
    val known = token.map { BYTES[it] }.filterNotNull()
    return if (known.size == token.length) known.toByteArray() else token.toByteArray(Charsets.UTF_8)
}

internal fun codePoints(text: String): List<Int> {
    val points = ArrayList<Int>()
    var place = 0
    while (place < text.length) {
        points.add(text.codePointAt(place))
        place += Character.charCount(points.last())
    }
    return points
}

/** GPT-2's pieces of a text: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
internal fun words(text: List<Int>): List<List<Int>> {
    val kinds = text.map { kind(it) }
    val pieces = ArrayList<List<Int>>()
    var place = 0
    while (place < text.size) {
        var end = place + 1
        val contraction = CONTRACTIONS.firstOrNull { place + it.size <= text.size && text.subList(place, place + it.size) == it }
        val first = if (text[place] == 0x20 && end < text.size) end else place
        if (contraction != null) {
            end = place + contraction.size
        } else if (kinds[first] != Kind.BLANK) {
            end = first + 1
            while (end < text.size && kinds[end] == kinds[first]) end++
        } else {
            while (end < text.size && kinds[end] == Kind.BLANK) end++
            if (end < text.size && end - place > 1) end--  // the last blank belongs to what follows
        }
        pieces.add(text.subList(place, end))
        place = end
    }
    return pieces
}

private val CONTRACTIONS = listOf("'s", "'t", "'re", "'ve", "'m", "'ll", "'d").map { codePoints(it) }

private enum class Kind { LETTER, NUMBER, BLANK, OTHER }

/** Unicode's White_Space, which Java's classes of blanks are not. */
private val BLANKS = ((9..13) + (0x2000..0x200A) + listOf(32, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)).toSet()

private fun kind(point: Int): Kind = when {
    point in BLANKS -> Kind.BLANK
    Character.isLetter(point) -> Kind.LETTER
    Character.getType(point).toByte() in NUMBERS -> Kind.NUMBER
    else -> Kind.OTHER
}

private val NUMBERS = listOf(Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER)
