import CoreML
import EdgeVisionKit
import Foundation

/// The models that `edgevision app ios` put into the folder Models, each opened when it is first needed.
actor Models {
    static let shared = Models()

    private var digits: ((Picture) async throws -> [Double])?
    private var writer: (any Engine)?
    private var captioner: Any?

    static let contents: Result<Contents, Error> = Result {
        guard let url = Bundle.main.url(forResource: "models", withExtension: "json") else {
            throw Failure("The app was built without models: edgevision app ios --model ... --out DIR")
        }
        return try Contents(Data(contentsOf: url))
    }

    /// The probabilities of a drawn digit: by Core AI where the system has it and the app an asset, else Core ML.
    func classify(_ picture: Picture) async throws -> [Double] {
        if digits == nil { digits = try await openDigits() }
        guard let digits else { throw Failure("There is no model for digits in the app.") }
        return try await digits(picture)
    }

    private func openDigits() async throws -> (Picture) async throws -> [Double] {
        #if canImport(CoreAI)
        if #available(iOS 27, *), let url = Bundle.main.url(forResource: "Digits", withExtension: "aimodel"),
            let model = try? await CoreAIClassifier(url)
        {
            return { try await model.probabilities($0) }
        }
        #endif
        let model = try CoreMLClassifier(compiled("Digits"))
        return { try await model.probabilities($0) }
    }

    /// The best sentence about a picture.
    func caption(_ picture: Picture, beams: Int) async throws -> String {
        guard #available(iOS 18, *) else { throw Failure("Captions need iOS 18.") }
        guard let settings = try Self.contents.get().caption else {
            throw Failure("There is no captioner in the app.")
        }
        let model = try captioner as? CoreMLCaptioner ?? CoreMLCaptioner(compiled("Captioner"))
        captioner = model
        let found = try await model.captions(picture, settings, beams: beams)
        return try tokenizer("Captioner").decode(found.first?.tokens ?? [])
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Goes on with a text; `show` gets all of it again and again, and says whether to go on.
    func write(
        _ prompt: String, sampling: Sampling, show: @escaping @Sendable (String) async -> Bool
    ) async throws -> Stop {
        guard let settings = try Self.contents.get().write else {
            throw Failure("There is no language model in the app.")
        }
        if writer == nil { writer = try await openWriter(settings) }
        guard let engine = writer else { throw Failure("Writing needs iOS 18.") }
        engine.restart()
        return try await EdgeVisionKit.write(
            after: prompt, with: engine, tokenizer: tokenizer("Writer"), ends: settings.ends,
            context: settings.context, sampling: sampling, show: show
        ).stop
    }

    /// By Core AI where the system has it and the app an asset, else by Core ML; nil below iOS 18.
    private func openWriter(_ settings: Contents.Write) async throws -> (any Engine)? {
        #if canImport(CoreAI)
        if #available(iOS 27, *), let url = Bundle.main.url(forResource: "Writer", withExtension: "aimodel"),
            let engine = try? await CoreAIEngine(url)
        {
            return engine
        }
        #endif
        guard #available(iOS 18, *) else { return nil }
        return try CoreMLEngine(compiled("Writer"), settings)
    }

    private func compiled(_ name: String) throws -> URL {
        guard let url = Bundle.main.url(forResource: name, withExtension: "mlmodelc") else {
            throw Failure("There is no \(name) in the app.")
        }
        return url
    }

    private func tokenizer(_ name: String) throws -> BytePairs {
        guard let url = Bundle.main.url(forResource: "\(name)-tokenizer", withExtension: "json") else {
            throw Failure("There is no tokenizer for \(name) in the app.")
        }
        return try BytePairs(Data(contentsOf: url))
    }
}
