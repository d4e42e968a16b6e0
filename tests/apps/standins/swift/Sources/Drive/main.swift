// Prints what the app's models say, a line of JSON for each, of Core AI at the end: Drive MODELS PICTURES

import EdgeVisionKit
import Foundation

let models = URL(fileURLWithPath: CommandLine.arguments[1]), pictures = URL(fileURLWithPath: CommandLine.arguments[2])

func data(_ name: String) throws -> Data { try Data(contentsOf: models.appendingPathComponent(name)) }

func picture(_ name: String, _ width: Int, _ height: Int, _ channels: Int) throws -> Picture {
    let bytes = Array(try Data(contentsOf: pictures.appendingPathComponent("\(name).raw")))
    return Picture(width: width, height: height, channels: channels, bytes: bytes)
}

let contents = try Contents(data("models.json"))
let captioner = try CoreMLCaptioner(models.appendingPathComponent("Captioner.mlpackage"))
for (name, width, height) in [("scene", 64, 64), ("wide", 211, 97), ("high", 150, 301)] {
    for beams in [1, 3] {
        let found = try await captioner.captions(picture(name, width, height, 3), contents.caption!, beams: beams)
        print(found.map(\.tokens))
    }
}
let classifier = try CoreMLClassifier(models.appendingPathComponent("Digits.mlpackage"))
print(try await classifier.probabilities(picture("seven", 140, 140, 1).digit()!))
let tokenizer = try BytePairs(data("Writer-tokenizer.json"))

func texts(_ engine: any Engine) async throws {
    for sampling in [Sampling(), Sampling(temperature: 1, topP: 0.95, seed: 5)] {
        engine.restart()
        let (text, _) = try await write(
            after: "a large", with: engine, tokenizer: tokenizer, ends: contents.write!.ends,
            context: contents.write!.context, sampling: sampling, limit: 24)
        print(String(decoding: try JSONEncoder().encode(text), as: UTF8.self))
    }
}

try await texts(CoreMLEngine(models.appendingPathComponent("Writer.mlpackage"), contents.write!))
let asset = models.appendingPathComponent("Writer.aimodel")
if FileManager.default.fileExists(atPath: asset.path) {
    let digits = try await CoreAIClassifier(models.appendingPathComponent("Digits.aimodel"))
    print(try await digits.probabilities(picture("seven", 140, 140, 1).digit()!))
    try await texts(CoreAIEngine(asset))
}
