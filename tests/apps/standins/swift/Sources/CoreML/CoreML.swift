// The part of Core ML that EdgeVisionKit uses, computed by a process of Python: its command, a word in each line, is in
// the environment as EDGEVISION_SERVE.

@_exported import CoreVideo
@_exported import Foundation

public enum MLComputeUnits { case all }

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public var functionName: String?

    public init() {}
}

public struct MLModelMetadataKey: Hashable {
    public static let creatorDefinedKey = MLModelMetadataKey()
}

public struct MLModelDescription {
    public let metadata: [MLModelMetadataKey: Any]
    public let inputDescriptionsByName: [String: Any]
}

public enum MLMultiArrayDataType: String { case float32, float16, int32 }

public final class MLMultiArray {
    let shape: [Int], type: MLMultiArrayDataType
    var data: Data

    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        (self.shape, type) = (shape.map(\.intValue), dataType)
        data = Data(repeating: 0xAB, count: self.shape.reduce(dataType == .float16 ? 2 : 4, *))
    }

    init(_ json: [String: Any]) {
        shape = json["shape"] as! [Int]
        type = MLMultiArrayDataType(rawValue: json["dtype"] as! String)!
        data = Data(base64Encoded: json["base64"] as! String)!
    }

    public subscript(place: Int) -> NSNumber {
        get { data.withUnsafeBytes { NSNumber(value: $0.bindMemory(to: Int32.self)[place]) } }
        set { data.withUnsafeMutableBytes { $0.bindMemory(to: Int32.self)[place] = newValue.int32Value } }
    }

    public func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R) rethrows -> R {
        let strides = shape.indices.map { shape[($0 + 1)...].reduce(1, *) }
        return try data.withUnsafeMutableBytes { try body($0, strides) }
    }
}

public struct MLShapedArray<Scalar> {
    public let scalars: [Float]

    public init(converting array: MLMultiArray) {
        precondition(array.type == .float32)
        scalars = array.data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?
    let json: [String: Any]

    public init(multiArray: MLMultiArray) {
        multiArrayValue = multiArray
        let text = multiArray.data.base64EncodedString()
        json = ["dtype": multiArray.type.rawValue, "shape": multiArray.shape, "base64": text]
    }

    public init(pixelBuffer: CVPixelBuffer) {
        precondition(!pixelBuffer.isLocked)
        let (step, count) = (pixelBuffer.bytesPerPixel, pixelBuffer.bytesPerPixel == 1 ? 1 : 3)
        var bytes: [UInt8] = []
        for row in 0..<pixelBuffer.height {
            for column in 0..<pixelBuffer.width {
                for channel in (0..<count).reversed() {  // blue is first in memory
                    let place = row * pixelBuffer.line + column * step + channel
                    bytes.append(pixelBuffer.base.load(fromByteOffset: place, as: UInt8.self))
                }
            }
        }
        let shape = [1, pixelBuffer.height, pixelBuffer.width, count]
        json = ["dtype": "uint8", "shape": shape, "base64": Data(bytes).base64EncodedString()]
        multiArrayValue = nil
    }
}

public protocol MLFeatureProvider {
    func featureValue(for name: String) -> MLFeatureValue?
}

public struct MLDictionaryFeatureProvider: MLFeatureProvider {
    let values: [String: MLFeatureValue]

    public init(dictionary: [String: Any]) throws { values = dictionary.mapValues { $0 as! MLFeatureValue } }

    public func featureValue(for name: String) -> MLFeatureValue? { values[name] }
}

public final class MLState {
    let number: Int

    init(_ number: Int) { self.number = number }
}

public final class MLModel {
    public let modelDescription: MLModelDescription
    private let function: String
    private let questions = Pipe(), answers = Pipe(), process = Process()

    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        let command = ProcessInfo.processInfo.environment["EDGEVISION_SERVE"]!.split(separator: "\n").map(String.init)
        function = configuration.functionName ?? ""
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = command.dropFirst() + [url.path]
        (process.standardInput, process.standardOutput) = (questions, answers)
        try process.run()
        let first = MLModel.read(answers)
        modelDescription = MLModelDescription(
            metadata: [.creatorDefinedKey: ["edgevision": first["metadata"] as! String]],
            inputDescriptionsByName: first["inputs"] as! [String: Any])
    }

    public func makeState() -> MLState { MLState(ask(["new_state": function])["state"] as! Int) }

    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider { try run(input, -1) }

    public func prediction(from input: MLFeatureProvider) async throws -> MLFeatureProvider { try run(input, -1) }

    public func prediction(from input: MLFeatureProvider, using state: MLState) throws -> MLFeatureProvider {
        try run(input, state.number)
    }

    private func run(_ input: MLFeatureProvider, _ state: Int) throws -> MLFeatureProvider {
        let inputs = (input as! MLDictionaryFeatureProvider).values.mapValues(\.json)
        let outputs = ask(["function": function, "state": state, "inputs": inputs])["outputs"] as! [String: [String: Any]]
        return try MLDictionaryFeatureProvider(
            dictionary: outputs.mapValues { MLFeatureValue(multiArray: MLMultiArray($0)) })
    }

    private func ask(_ question: [String: Any]) -> [String: Any] {
        questions.fileHandleForWriting.write(try! JSONSerialization.data(withJSONObject: question) + [10])
        return MLModel.read(answers)
    }

    private static func read(_ pipe: Pipe) -> [String: Any] {
        var line = Data()
        while line.last != 10 {
            let more = pipe.fileHandleForReading.availableData
            precondition(!more.isEmpty, "Python gave no answer")
            line += more
        }
        return try! JSONSerialization.jsonObject(with: line) as! [String: Any]
    }
}
