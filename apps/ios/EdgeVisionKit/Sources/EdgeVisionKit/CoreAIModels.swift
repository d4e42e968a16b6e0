#if canImport(CoreAI)
import CoreAI
import Foundation

/// A classifier of pictures in an `.aimodel` that `edgevision export --to coreai` wrote.
@available(iOS 27, macOS 27, *)
public struct CoreAIClassifier {
    private let function: InferenceFunction
    private let image: NDArrayDescriptor

    public init(_ url: URL) async throws {
        let model = try await AIModel(contentsOf: url)
        guard let function = try model.loadFunction(named: "main"),
            case .ndArray(let image)? = model.functionDescriptor(for: "main")?.inputDescriptor(of: "image")
        else { throw Failure("The Core AI model takes no image.") }
        (self.function, self.image) = (function, image)
    }

    /// Of each label, in their order; the picture has the model's size.
    public func probabilities(_ picture: Picture) async throws -> [Double] {
        let shape = [1, picture.height, picture.width, picture.channels]
        var array = NDArray(descriptor: image.resolvingDynamicDimensions(shape))
        var view = array.mutableView(as: Float.self)
        view.copyElements(fromContentsOf: picture.unitRange)
        var outputs = try await function.run(inputs: ["image": array])
        guard let logits = outputs.remove("logits")?.ndArray else {
            throw Failure("The Core AI model gives no logits.")
        }
        return softmax(logits.lastRow())
    }
}

/// A language model in an `.aimodel` whose cache are two arrays that each call changes in place.
@available(iOS 27, macOS 27, *)
public final class CoreAIEngine: Engine {
    private let function: InferenceFunction
    private let ids, mask: NDArrayDescriptor
    private var keys, values: NDArray
    private var length = 0

    public init(_ url: URL) async throws {
        let model = try await AIModel(contentsOf: url)
        guard let function = try model.loadFunction(named: "main"),
            let described = model.functionDescriptor(for: "main"),
            Set(described.inputNames) == ["inputIds", "fullAttentionMask"],
            Set(described.stateNames) == ["keyCache", "valueCache"],
            case .ndArray(let ids)? = described.inputDescriptor(of: "inputIds"),
            case .ndArray(let mask)? = described.inputDescriptor(of: "fullAttentionMask"),
            case .ndArray(let keys)? = described.stateDescriptor(of: "keyCache"),
            case .ndArray(let values)? = described.stateDescriptor(of: "valueCache")
        else { throw Failure("The Core AI model has not the cache of one layer like the other.") }
        (self.function, self.ids, self.mask) = (function, ids, mask)
        (self.keys, self.values) = (zeros(keys), zeros(values))
    }

    /// Forget the text: what the cache holds of it lies behind the mask.
    public func restart() { length = 0 }

    public func next(_ tokens: [Int]) async throws -> [Float] {
        let total = length + tokens.count
        var given = NDArray(descriptor: ids.resolvingDynamicDimensions([1, tokens.count]))
        var numbers = given.mutableView(as: Int32.self)
        numbers.copyElements(fromContentsOf: tokens.map(Int32.init))
        var seen = NDArray(descriptor: mask.resolvingDynamicDimensions([1, 1, tokens.count, total]))
        var halves = seen.mutableView(as: Float16.self)
        halves.copyElements(fromContentsOf: (length..<total).flatMap { row in
            (0..<total).map { column -> Float16 in column <= row ? 0 : -65504 }
        })
        var (keys, values) = (self.keys, self.values)  // a view lives no longer than the variable it is of
        var states = InferenceFunction.MutableViews()
        states.insert(&keys, for: "keyCache")
        states.insert(&values, for: "valueCache")
        var outputs = try await function.run(
            inputs: ["inputIds": given, "fullAttentionMask": seen], states: states)
        (self.keys, self.values, length) = (keys, values, total)
        guard let logits = outputs.remove("logits")?.ndArray else {
            throw Failure("The Core AI model gives no logits.")
        }
        return logits.lastRow()
    }
}

@available(iOS 27, macOS 27, *)
private func zeros(_ descriptor: NDArrayDescriptor) -> NDArray {
    let count = descriptor.shape.reduce(1, *), half = descriptor.scalarType == .float16
    var array = NDArray(descriptor: descriptor)
    if half {
        var view = array.mutableView(as: Float16.self)
        view.copyElements(fromContentsOf: [Float16](repeating: 0, count: count))
    } else {
        var view = array.mutableView(as: Float.self)
        view.copyElements(fromContentsOf: [Float](repeating: 0, count: count))
    }
    return array
}

@available(iOS 27, macOS 27, *)
extension NDArray {
    /// The elements with the highest place along all axes but the last; results lie row by row.
    fileprivate func lastRow() -> [Float] {
        view(as: Float.self).withUnsafePointer { values, shape, _ in
            let size = shape[shape.count - 1]
            var rows = 1
            for axis in 0..<(shape.count - 1) { rows *= shape[axis] }
            return (0..<size).map { values[(rows - 1) * size + $0] }
        }
    }
}
#endif
