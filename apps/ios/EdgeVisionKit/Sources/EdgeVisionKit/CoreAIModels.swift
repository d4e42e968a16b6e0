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
        return softmax(logits.view(as: Float.self).withUnsafePointer { values, shape, _ in
            (0..<shape[shape.count - 1]).map { values[$0] }
        })
    }
}
#endif
