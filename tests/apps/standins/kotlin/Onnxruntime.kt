package ai.onnxruntime

import edgevision.kit.parseJson
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer
import java.util.Base64
import java.util.Optional

/*
 * The part of onnxruntime's Java API that the app uses, computed by a process of Python: `serve` is its command.
 * It is stricter than the real one: tensors that were given back may not be used, and those that were not are counted.
 */

enum class OnnxJavaType(val dtype: String) { FLOAT("float32"), FLOAT16("float16"), INT64("int64") }

class TensorInfo(val shape: LongArray, val type: OnnxJavaType)

class NodeInfo(val info: Any)

class OnnxTensor(private val bytes: ByteArray, shape: LongArray, type: OnnxJavaType) : AutoCloseable {
    private val described = TensorInfo(shape.copyOf(), type)
    private var open = true

    init {
        alive++
    }

    val info: TensorInfo get() = checked(TensorInfo(described.shape.copyOf(), described.type))

    val byteBuffer: ByteBuffer get() = checked(ByteBuffer.wrap(bytes.copyOf()).order(ByteOrder.LITTLE_ENDIAN))

    val floatBuffer: FloatBuffer get() = byteBuffer.asFloatBuffer()

    fun json(): String = checked(
        """{"dtype": "${described.type.dtype}", "shape": ${described.shape.toList()}, "base64": "${Base64.getEncoder().encodeToString(bytes)}"}"""
    )

    override fun close() {
        if (open) alive--
        open = false
    }

    private fun <T> checked(value: T): T = if (open) value else throw IllegalStateException("the tensor was closed")

    companion object {
        var alive = 0

        fun createTensor(environment: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor {
            val bytes = ByteBuffer.allocate(data.remaining() * 4).order(ByteOrder.LITTLE_ENDIAN)
            bytes.asFloatBuffer().put(data)
            return OnnxTensor(bytes.array(), shape, OnnxJavaType.FLOAT)
        }

        fun createTensor(environment: OrtEnvironment, data: LongBuffer, shape: LongArray): OnnxTensor {
            val bytes = ByteBuffer.allocate(data.remaining() * 8).order(ByteOrder.LITTLE_ENDIAN)
            bytes.asLongBuffer().put(data)
            return OnnxTensor(bytes.array(), shape, OnnxJavaType.INT64)
        }

        fun createTensor(environment: OrtEnvironment, data: ByteBuffer, shape: LongArray, type: OnnxJavaType) =
            OnnxTensor(ByteArray(data.remaining()).also { data.duplicate().get(it) }, shape, type)
    }
}

class OrtEnvironment {
    fun createSession(path: String, options: OrtSession.SessionOptions) = OrtSession(path)

    companion object {
        private val only = OrtEnvironment()

        fun getEnvironment() = only
    }
}

class OrtSession(path: String) {
    private val process = ProcessBuilder(System.getProperty("serve").split("\n") + path)
        .redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val answers = process.inputStream.bufferedReader()
    private val questions = process.outputStream.bufferedWriter()

    val inputInfo: Map<String, NodeInfo> = entries(entries(answer())["inputs"]).mapValues { (_, described) ->
        val shape = (entries(described)["shape"] as List<*>).map { (it as Double).toLong() }.toLongArray()
        NodeInfo(TensorInfo(shape, type(entries(described)["dtype"])))
    }

    val inputNames: Set<String> get() = inputInfo.keys

    fun run(inputs: Map<String, OnnxTensor>): Result {
        val given = inputs.entries.joinToString(", ") { (name, tensor) -> "\"$name\": ${tensor.json()}" }
        questions.write("{\"function\": \"\", \"state\": -1, \"inputs\": {$given}}\n")
        questions.flush()
        return Result(entries(entries(answer())["outputs"]).mapValues { (_, array) ->
            val shape = (entries(array)["shape"] as List<*>).map { (it as Double).toLong() }.toLongArray()
            OnnxTensor(Base64.getDecoder().decode(entries(array)["base64"] as String), shape, type(entries(array)["dtype"]))
        })
    }

    private fun answer() = parseJson(answers.readLine() ?: throw IllegalStateException("Python gave no answer"))

    @Suppress("UNCHECKED_CAST")
    private fun entries(value: Any?) = value as Map<String, Any?>

    private fun type(dtype: Any?) = OnnxJavaType.values().first { it.dtype == dtype }

    class SessionOptions

    class Result(private val found: Map<String, OnnxTensor>) : AutoCloseable {
        fun get(name: String): Optional<OnnxTensor> = Optional.ofNullable(found[name])

        override fun close() = found.values.forEach { it.close() }
    }
}
