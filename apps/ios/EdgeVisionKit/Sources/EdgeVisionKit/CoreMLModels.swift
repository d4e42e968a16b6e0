#if canImport(CoreML)
import CoreML
import CoreVideo

/// A classifier of pictures in a package that `edgevision export` wrote.
public struct CoreMLClassifier {
    private let model: MLModel
    private let metadata: Metadata

    /// - url: of the compiled package (`.mlmodelc`).
    public init(_ url: URL, units: MLComputeUnits = .all) throws {
        model = try opened(url, units: units)
        metadata = try model.edgevision()
    }

    /// Of each label, in their order; the picture has the model's size.
    public func probabilities(_ picture: Picture) async throws -> [Double] {
        let image = MLFeatureValue(pixelBuffer: try picture.pixelBuffer())
        let given = try MLDictionaryFeatureProvider(dictionary: [metadata.name("image"): image])
        return softmax(try await model.prediction(from: given).floats(metadata.name("logits")))
    }
}

/// A captioner in a package with two functions: `encode` looks at a picture once, `step` writes a token and
/// keeps the words so far in its state.
@available(iOS 18, macOS 15, *)
public struct CoreMLCaptioner: Captioner {
    private let encode: MLModel
    private let step: MLModel

    public init(_ url: URL, units: MLComputeUnits = .all) throws {
        encode = try opened(url, function: "encode", units: units)
        step = try opened(url, function: "step", units: units)
        _ = try encode.edgevision()
    }

    public func look(_ picture: Picture) async throws -> [String: MLFeatureValue] {
        let image = MLFeatureValue(pixelBuffer: try picture.pixelBuffer())
        let seen = try await encode.prediction(from: MLDictionaryFeatureProvider(dictionary: ["image": image]))
        return try Dictionary(uniqueKeysWithValues: ["crossKeys", "crossValues"].map {
            guard let value = seen.featureValue(for: $0) else { throw Failure("The model gives no \($0).") }
            return ($0, value)
        })
    }

    public func rows(_ seen: [String: MLFeatureValue], count: Int) -> any Rows {
        CoreMLRows(step: step, seen: seen, count: count)
    }
}

/// A state for each sentence.
@available(iOS 18, macOS 15, *)
private final class CoreMLRows: Rows {
    private let step: MLModel
    private let seen: [String: MLFeatureValue]
    private var rows: [(text: [Int], state: MLState)]

    init(step: MLModel, seen: [String: MLFeatureValue], count: Int) {
        (self.step, self.seen) = (step, seen)
        rows = (0..<count).map { _ in ([], step.makeState()) }
    }

    func next(_ tokens: [Int]) throws -> [[Float]] {
        try tokens.enumerated().map { try feed($0, $1) }
    }

    /// A sentence that goes on twice is read again into a state of its own: states cannot be copied.
    func reorder(_ order: [Int]) throws {
        let old = rows
        var free = Set(old.indices)
        rows = []
        for row in order {
            if free.remove(row) != nil {
                rows.append(old[row])
            } else {
                rows.append(([], step.makeState()))
                for token in old[row].text { _ = try feed(rows.count - 1, token) }
            }
        }
    }

    private func feed(_ row: Int, _ token: Int) throws -> [Float] {
        var given = seen
        given["inputIds"] = MLFeatureValue(multiArray: try integers([token], shape: [1, 1]))
        given["position"] = MLFeatureValue(multiArray: try integers([rows[row].text.count], shape: [1]))
        rows[row].text.append(token)
        let inputs = try MLDictionaryFeatureProvider(dictionary: given)
        return try step.prediction(from: inputs, using: rows[row].state).floats("logits")
    }
}

/// A language model in a package whose state is its cache.
@available(iOS 18, macOS 15, *)
public final class CoreMLEngine: Engine {
    private let model: MLModel
    private let window: Int?
    private var state: MLState
    private var length = 0

    public init(_ url: URL, _ contents: Contents.Write, units: MLComputeUnits = .all) throws {
        model = try opened(url, units: units)
        _ = try model.edgevision()
        window = contents.window
        state = model.makeState()
    }

    /// Forget the text.
    public func restart() {
        (state, length) = (model.makeState(), 0)
    }

    public func next(_ tokens: [Int]) throws -> [Float] {
        let total = length + tokens.count
        var given = ["inputIds": MLFeatureValue(multiArray: try integers(tokens, shape: [1, tokens.count]))]
        given["fullAttentionMask"] = MLFeatureValue(multiArray: try mask(total, nil))
        if model.modelDescription.inputDescriptionsByName["slidingAttentionMask"] != nil {
            given["slidingAttentionMask"] = MLFeatureValue(multiArray: try mask(total, window))
        }
        let inputs = try MLDictionaryFeatureProvider(dictionary: given)
        let logits = try model.prediction(from: inputs, using: state).floats("logits")
        defer { length = total }
        return Array(logits.suffix(logits.count / tokens.count))
    }

    /// (1, 1, new tokens, total) of float16: 0 where a token sees another, -65504 where not.
    private func mask(_ total: Int, _ window: Int?) throws -> MLMultiArray {
        let shape = [1, 1, total - length, total]
        let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float16)
        array.withUnsafeMutableBytes { bytes, strides in
            let halves = bytes.bindMemory(to: UInt16.self)
            for row in length..<total {
                for column in 0..<total {
                    let seen = column <= row && column > row - (window ?? total)
                    halves[(row - length) * strides[2] + column * strides[3]] = seen ? 0 : 0xFBFF
                }
            }
        }
        return array
    }
}

private func opened(_ url: URL, function: String? = nil, units: MLComputeUnits) throws -> MLModel {
    let configuration = MLModelConfiguration()
    configuration.computeUnits = units
    if let function, #available(iOS 18, macOS 15, *) { configuration.functionName = function }
    return try MLModel(contentsOf: url, configuration: configuration)
}

private func integers(_ values: [Int], shape: [Int]) throws -> MLMultiArray {
    let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .int32)
    for (place, value) in values.enumerated() { array[place] = NSNumber(value: value) }
    return array
}

extension MLModel {
    /// What the package says of itself.
    fileprivate func edgevision() throws -> Metadata {
        let own = modelDescription.metadata[.creatorDefinedKey] as? [String: String]
        guard let json = own?[Metadata.key] else { throw Failure("edgevision did not write this model.") }
        return try Metadata(json)
    }
}

extension MLFeatureProvider {
    fileprivate func floats(_ name: String) throws -> [Float] {
        guard let array = featureValue(for: name)?.multiArrayValue else {
            throw Failure("The model gives no \(name).")
        }
        return MLShapedArray<Float>(converting: array).scalars
    }
}

extension Picture {
    /// The same pixels in the form that Core ML takes: grey, or BGRA.
    func pixelBuffer() throws -> CVPixelBuffer {
        let format = channels == 1 ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
        var made: CVPixelBuffer?
        CVPixelBufferCreate(nil, width, height, format, nil, &made)
        guard let buffer = made, CVPixelBufferLockBaseAddress(buffer, []) == kCVReturnSuccess,
            let base = CVPixelBufferGetBaseAddress(buffer)
        else { throw Failure("There is no memory for a picture.") }
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        let target = base.assumingMemoryBound(to: UInt8.self), line = CVPixelBufferGetBytesPerRow(buffer)
        for row in 0..<height {
            for column in 0..<width {
                let from = (row * width + column) * channels
                if channels == 1 {
                    target[row * line + column] = bytes[from]
                } else {
                    for (place, channel) in [2, 1, 0].enumerated() {
                        target[row * line + column * 4 + place] = bytes[from + channel]
                    }
                    target[row * line + column * 4 + 3] = 255
                }
            }
        }
        return buffer
    }
}
#endif
