package edgevision.app

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import edgevision.kit.Contents
import edgevision.kit.Engine
import edgevision.kit.Picture
import edgevision.kit.Rows
import edgevision.kit.Sampling
import edgevision.kit.Sentence
import edgevision.kit.draw
import edgevision.kit.search
import edgevision.kit.softmax
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer

private val environment = OrtEnvironment.getEnvironment()

private fun opened(path: String): OrtSession = environment.createSession(path, OrtSession.SessionOptions())

private fun floats(values: FloatArray, vararg shape: Long): OnnxTensor =
    OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), shape)

private fun longs(values: LongArray): OnnxTensor =
    OnnxTensor.createTensor(environment, LongBuffer.wrap(values), longArrayOf(1, values.size.toLong()))

private fun OrtSession.Result.tensor(name: String) = get(name).get() as OnnxTensor

private fun OnnxTensor.values(): FloatArray {
    val buffer = floatBuffer
    return FloatArray(buffer.remaining()).also { buffer.get(it) }
}

/** Gives the tensors back to the runtime when `use` is done with them. */
private fun <T> Map<String, OnnxTensor>.closing(use: (Map<String, OnnxTensor>) -> T): T = try {
    use(this)
} finally {
    values.forEach { it.close() }
}

/** A classifier of grey digits, `onnx/model.onnx` of an export. */
class OnnxClassifier(path: String) {
    private val session = opened(path)

    /** Of each label, in their order; the picture has the model's size. */
    fun probabilities(picture: Picture): List<Double> {
        val plane = picture.planes()
        val (high, wide) = Pair(picture.height.toLong(), picture.width.toLong())
        return mapOf("pixel_values" to floats(plane + plane + plane, 1, 3, high, wide)).closing { given ->
            session.run(given).use { softmax(it.tensor("logits").values()) }
        }
    }
}

/** A captioner: `onnx/encoder_model.onnx` and `onnx/decoder_model_merged.onnx` of an export. */
class OnnxCaptioner(encoder: String, decoder: String) {
    private val encoder = opened(encoder)
    private val decoder = opened(decoder)

    /** The best sentences about a picture of any size, squeezed to the model's square. */
    fun captions(picture: Picture, model: Contents.Caption, beams: Int, sampling: Sampling = Sampling()): List<Sentence> {
        val side = model.side.toLong()
        val pixels = picture.squeezed(model.side).planes()
        return mapOf("pixel_values" to floats(pixels, 1, 3, side, side)).closing { given ->
            encoder.run(given).use { seen ->
                OnnxRows(decoder, seen.tensor("last_hidden_state"), beams).use { rows ->
                    if (beams > 1) search(rows, model.start, model.end, beams, model.limit)
                    else draw(rows, model.start, model.end, model.limit, sampling)
                }
            }
        }
    }
}

/** Sentences side by side; keys and values of the words so far go out of one step and into the next. */
private class OnnxRows(private val decoder: OrtSession, seen: OnnxTensor, private val count: Int) : Rows, AutoCloseable {
    private val features = repeated(seen, List(count) { 0 })
    private var past = decoder.emptyPast(count)

    override fun next(tokens: List<Int>): List<FloatArray> {
        val ids = OnnxTensor.createTensor(
            environment, LongBuffer.wrap(LongArray(count) { tokens[it].toLong() }), longArrayOf(count.toLong(), 1)
        )
        val found = ids.use { decoder.run(past + mapOf("input_ids" to ids, "encoder_hidden_states" to features)) }
        found.use {
            val logits = found.tensor("logits").values()
            replace(past.mapValues { (name, _) -> repeated(found.tensor(name.replace("past_key_values", "present")), null) })
            return logits.toList().chunked(logits.size / count) { it.toFloatArray() }
        }
    }

    override fun reorder(rows: List<Int>) {
        if (rows != rows.indices.toList()) replace(past.mapValues { (_, tensor) -> repeated(tensor, rows) })
    }

    override fun close() {
        features.close()
        replace(emptyMap())
    }

    private fun replace(new: Map<String, OnnxTensor>) {
        past.values.forEach { it.close() }
        past = new
    }

    /** A copy with these of the rows; all where `rows` is null. */
    private fun repeated(tensor: OnnxTensor, rows: List<Int>?): OnnxTensor {
        val bytes = tensor.byteBuffer
        val shape = tensor.info.shape
        val kept = rows ?: (0 until shape[0].toInt()).toList()
        val size = bytes.remaining() / shape[0].toInt()
        val copy = ByteBuffer.allocateDirect(size * kept.size).order(ByteOrder.nativeOrder())
        for (row in kept) {
            val part = bytes.duplicate()
            part.position(row * size)
            part.limit((row + 1) * size)
            copy.put(part)
        }
        copy.rewind()
        shape[0] = kept.size.toLong()
        return OnnxTensor.createTensor(environment, copy, shape, tensor.info.type)
    }
}

/** A language model, `onnx/model.onnx` of an export; one text at a time. */
class OnnxEngine(path: String) : Engine {
    private val session = opened(path)
    private var past = session.emptyPast(1)
    private var result: OrtSession.Result? = null
    private var length = 0

    /** Forget the text. */
    fun restart() {
        forget()
        past = session.emptyPast(1)
        length = 0
    }

    override fun next(tokens: List<Int>): FloatArray {
        val total = length + tokens.size
        val every = mapOf(
            "input_ids" to LongArray(tokens.size) { tokens[it].toLong() },
            "attention_mask" to LongArray(total) { 1 },
            "position_ids" to LongArray(tokens.size) { (length + it).toLong() }
        ).filterKeys { it in session.inputNames }.mapValues { longs(it.value) }
        val found = every.closing { session.run(it + past) }
        val logits = found.tensor("logits").values()
        val kept = past.keys.associateWith { found.tensor(it.replace("past_key_values", "present")) }
        forget()
        past = kept
        result = found  // the tensors of the past are its own
        length = total
        return logits.copyOfRange(logits.size - logits.size / tokens.size, logits.size)
    }

    private fun forget() {
        val old = result
        if (old != null) old.close() else past.values.forEach { it.close() }
        result = null
    }
}

/** Keys and values of no tokens, for each input that wants some. */
private fun OrtSession.emptyPast(rows: Int): Map<String, OnnxTensor> =
    inputInfo.filterKeys { it.startsWith("past_key_values.") }.mapValues { (_, node) ->
        val info = node.info as TensorInfo
        val shape = longArrayOf(rows.toLong(), info.shape[1], 0, info.shape[3])
        OnnxTensor.createTensor(environment, ByteBuffer.allocateDirect(0).order(ByteOrder.nativeOrder()), shape, info.type)
    }
