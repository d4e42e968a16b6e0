package edgevision.kit

import java.io.File
import java.util.Base64

/** apps/fixtures: what Python made. A project that `edgevision app android` wrote has them in `fixtures`. */
internal object Fixtures {
    private val folder = listOf(System.getProperty("fixtures") ?: "", "../../fixtures", "../fixtures").map { File(it) }
        .first { File(it, "fixtures.json").exists() }

    private val all = parseJson(text("fixtures.json")).entries()

    fun list(name: String) = all[name].items().map { it.entries() }

    fun entry(name: String) = all[name].entries()

    fun text(name: String) = File(folder, name).readText()

    fun picture(entry: Map<String, Any?>) = Picture(
        entry["width"].whole(), entry["height"].whole(), entry["channels"].whole(), File(folder, entry["raw"].text()).readBytes()
    )
}

internal fun Any?.wholes() = items().map { it.whole() }

internal fun Any?.number() = this as Double

internal fun Any?.bytes(): ByteArray = Base64.getDecoder().decode(text())

internal fun Any?.table() = items().map { row -> FloatArray(row.items().size) { row.items()[it].number().toFloat() } }

internal fun Any?.sampling(): Sampling {
    val read = entries()
    return Sampling(
        read["temperature"].number(), read["top_k"].whole(), read["top_p"].number(), read["min_p"].number(),
        read["repetition_penalty"].number(), read["seed"].whole()
    )
}

/** Logits of a text: the row (sum of (place + 1) * token) % rows of a table. */
internal class Table(private val table: List<FloatArray>, rows: Int = 1) : Rows {
    private var texts = List(rows) { listOf<Int>() }

    override fun next(tokens: List<Int>): List<FloatArray> {
        texts = texts.mapIndexed { row, text -> text + tokens[row] }
        return texts.map { text -> table[text.indices.map { (it + 1) * text[it] }.sum() % table.size] }
    }

    override fun reorder(rows: List<Int>) {
        texts = rows.map { texts[it] }
    }
}

internal class TableEngine(table: List<FloatArray>) : Engine {
    private val rows = Table(table)

    override fun next(tokens: List<Int>) = tokens.map { rows.next(listOf(it))[0] }.last()
}
