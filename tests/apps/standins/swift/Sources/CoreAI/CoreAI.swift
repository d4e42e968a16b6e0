// The part of Core AI that EdgeVisionKit uses, computed by Apple's runtime behind a process of Python: its command, a
// word in each line, is in the environment as EDGEVISION_SERVE. Real views cannot outlive their arrays; these can.

@_exported import Foundation

public struct NDArrayDescriptor {
    public let shape: [Int]
    public let scalarType: NDArray.ScalarType

    public func resolvingDynamicDimensions(_ sizes: [Int]) -> NDArrayDescriptor {
        precondition(zip(shape, sizes).allSatisfy { $0 == -1 || $0 == $1 } && shape.count == sizes.count)
        return NDArrayDescriptor(shape: sizes, scalarType: scalarType)
    }
}

public struct NDArray {
    public enum ScalarType: String { case float32, float16, int32 }

    final class Storage {
        var bytes: Data

        init(_ bytes: Data) { self.bytes = bytes }
    }

    let shape: [Int], type: ScalarType, storage: Storage

    /// What it holds is not said.
    public init(descriptor: NDArrayDescriptor) {
        (shape, type) = (descriptor.shape, descriptor.scalarType)
        storage = Storage(Data(repeating: 0xFF, count: shape.reduce(type == .float16 ? 2 : 4, *)))
    }

    init(_ json: [String: Any]) {
        (shape, type) = (json["shape"] as! [Int], ScalarType(rawValue: json["dtype"] as! String)!)
        storage = Storage(Data(base64Encoded: json["base64"] as! String)!)
    }

    var json: [String: Any] {
        ["dtype": type.rawValue, "shape": shape, "base64": storage.bytes.base64EncodedString()]
    }

    func check<T>(_ kind: T.Type) {
        let kinds: [ScalarType: Any.Type] = [.float32: Float.self, .float16: Float16.self, .int32: Int32.self]
        precondition(kinds[type]! == kind)
    }

    public mutating func mutableView<T>(as kind: T.Type) -> MutableView<T> {
        check(kind)
        return MutableView(storage: storage)
    }

    public func view<T>(as kind: T.Type) -> View<T> {
        check(kind)
        return View(shape: shape, storage: storage)
    }

    public struct MutableView<T> {
        let storage: Storage

        public mutating func copyElements(fromContentsOf values: [T]) {
            precondition(values.count * MemoryLayout<T>.size == storage.bytes.count)
            storage.bytes = values.withUnsafeBytes { Data($0) }
        }
    }

    public struct View<T> {
        let shape: [Int], storage: Storage

        public func withUnsafePointer<R>(_ body: (UnsafePointer<T>, [Int], [Int]) throws -> R) rethrows -> R {
            let strides = shape.indices.map { shape[($0 + 1)...].reduce(1, *) }
            return try storage.bytes.withUnsafeBytes {
                try body($0.bindMemory(to: T.self).baseAddress!, shape, strides)
            }
        }
    }
}

public enum InferenceValueDescriptor { case ndArray(NDArrayDescriptor) }

public struct InferenceFunctionDescriptor {
    let inputs, states: [String: NDArrayDescriptor]

    public var inputNames: [String] { Array(inputs.keys) }
    public var stateNames: [String] { Array(states.keys) }

    public func inputDescriptor(of name: String) -> InferenceValueDescriptor? { inputs[name].map { .ndArray($0) } }

    public func stateDescriptor(of name: String) -> InferenceValueDescriptor? { states[name].map { .ndArray($0) } }
}

public struct InferenceValue { public let ndArray: NDArray? }

public struct InferenceFunction {
    let process: Python

    public struct MutableViews {
        var storages: [String: NDArray] = [:]

        public init() {}

        public mutating func insert(_ value: inout NDArray, for name: String) { storages[name] = value }
    }

    public struct Outputs {
        var values: [String: NDArray]

        public mutating func remove(_ name: String) -> InferenceValue? {
            values.removeValue(forKey: name).map { InferenceValue(ndArray: $0) }
        }
    }

    public func run(inputs: [String: NDArray], states: consuming MutableViews = MutableViews()) async throws -> Outputs {
        let held = states.storages.mapValues(\.json)
        let answer = process.ask(["function": "", "state": -1, "inputs": inputs.mapValues(\.json), "states": held])
        for (name, json) in answer["states"] as! [String: [String: Any]] {
            states.storages[name]!.storage.bytes = NDArray(json).storage.bytes
        }
        return Outputs(values: (answer["outputs"] as! [String: [String: Any]]).mapValues(NDArray.init))
    }
}

public struct AIModel {
    private let process: Python, described: InferenceFunctionDescriptor

    public init(contentsOf url: URL) async throws {
        process = try Python(url)
        let arrays = process.first["inputs"] as! [String: [String: Any]]
        let told = try JSONSerialization.jsonObject(with: Data((process.first["metadata"] as! String).utf8))
        let states = ((told as! [String: Any])["states"] as? [String: Any] ?? [:]).keys
        let all = arrays.mapValues {
            NDArrayDescriptor(
                shape: $0["shape"] as! [Int], scalarType: NDArray.ScalarType(rawValue: $0["dtype"] as! String)!)
        }
        described = InferenceFunctionDescriptor(
            inputs: all.filter { !states.contains($0.key) }, states: all.filter { states.contains($0.key) })
    }

    public func loadFunction(named name: String) throws -> InferenceFunction? {
        name == "main" ? InferenceFunction(process: process) : nil
    }

    public func functionDescriptor(for name: String) -> InferenceFunctionDescriptor? {
        name == "main" ? described : nil
    }
}

/// A process that answers each line with a line.
final class Python {
    let first: [String: Any]
    private let questions = Pipe(), answers = Pipe(), process = Process()

    init(_ url: URL) throws {
        let command = ProcessInfo.processInfo.environment["EDGEVISION_SERVE"]!.split(separator: "\n").map(String.init)
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = command.dropFirst() + [url.path]
        (process.standardInput, process.standardOutput) = (questions, answers)
        try process.run()
        first = Python.read(answers)
    }

    func ask(_ question: [String: Any]) -> [String: Any] {
        questions.fileHandleForWriting.write(try! JSONSerialization.data(withJSONObject: question) + [10])
        return Python.read(answers)
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
