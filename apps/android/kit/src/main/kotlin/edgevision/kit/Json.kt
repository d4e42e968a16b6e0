package edgevision.kit

/** A JSON text as maps, lists, strings, numbers (Double), booleans and null. */
fun parseJson(text: String): Any? {
    val reader = JsonReader(text)
    val value = reader.value()
    reader.end()
    return value
}

@Suppress("UNCHECKED_CAST")
internal fun Any?.entries(): Map<String, Any?> =
    this as? Map<String, Any?> ?: throw Failure("The JSON holds no object where one is expected.")

internal fun Any?.items(): List<Any?> =
    this as? List<Any?> ?: throw Failure("The JSON holds no list where one is expected.")

internal fun Any?.whole(): Int =
    (this as? Double)?.toInt() ?: throw Failure("The JSON holds no number where one is expected.")

internal fun Any?.text(): String =
    this as? String ?: throw Failure("The JSON holds no text where one is expected.")

private class JsonReader(private val text: String) {
    private var place = 0

    fun value(): Any? {
        skipBlanks()
        return when (peek()) {
            '{' -> members()
            '[' -> elements()
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    fun end() {
        skipBlanks()
        if (place != text.length) fail()
    }

    private fun members(): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        separated('}') {
            skipBlanks()
            val name = string()
            skipBlanks()
            take(':')
            found[name] = value()
        }
        return found
    }

    private fun elements(): List<Any?> {
        val found = ArrayList<Any?>()
        separated(']') { found.add(value()) }
        return found
    }

    private fun separated(close: Char, read: () -> Unit) {
        place++
        skipBlanks()
        if (peek() == close) {
            place++
            return
        }
        while (true) {
            read()
            skipBlanks()
            if (peek() == close) break
            take(',')
        }
        place++
    }

    private fun string(): String {
        take('"')
        val made = StringBuilder()
        while (peek() != '"') {
            var letter = text[place++]
            if (letter == '\\') {
                val escape = peek()
                place++
                letter = when (escape) {
                    'n' -> '\n'
                    't' -> '\t'
                    'r' -> '\r'
                    'b' -> '\b'
                    'f' -> '\u000C'
                    'u' -> unicode()
                    else -> escape
                }
            }
            made.append(letter)
        }
        place++
        return made.toString()
    }

    private fun unicode(): Char {
        if (place + 4 > text.length) fail()
        place += 4
        return (text.substring(place - 4, place).toIntOrNull(16) ?: fail()).toChar()
    }

    private fun number(): Double {
        val start = place
        while (place < text.length && text[place] in "+-.eE0123456789") place++
        return text.substring(start, place).toDoubleOrNull() ?: fail()
    }

    private fun word(name: String, value: Any?): Any? {
        if (!text.startsWith(name, place)) fail()
        place += name.length
        return value
    }

    private fun peek(): Char = if (place < text.length) text[place] else fail()

    private fun take(letter: Char) {
        if (peek() != letter) fail()
        place++
    }

    private fun skipBlanks() {
        while (place < text.length && text[place] in " \t\r\n") place++
    }

    private fun fail(): Nothing = throw Failure("The JSON is damaged at character $place.")
}
