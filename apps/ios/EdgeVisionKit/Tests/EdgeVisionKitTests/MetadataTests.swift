import XCTest

@testable import EdgeVisionKit

final class MetadataTests: XCTestCase {
    func testWhatAPackageSaysOfItself() throws {
        let read = try Metadata("""
            {"format": 1, "task": "image-classification", "labels": ["0", "1"], "names": {"present.0.key": "present_0_key"},
             "preprocessing": {"size": [28, 28], "color": "grey", "scale": 0.00392156862745098}, "sha256": "", "dims": {}}
            """)
        XCTAssertEqual(read.labels, ["0", "1"])
        XCTAssertEqual(read.preprocessing, .init(size: [28, 28], color: "grey", scale: 1 / 255))
        XCTAssertEqual(["present.0.key", "logits"].map(read.name), ["present_0_key", "logits"])
        XCTAssertThrowsError(try Metadata("{\"format\": 2}"))
        XCTAssertThrowsError(try Metadata("{\"format\": \"one\"}"))
    }

    func testWhatAProjectHolds() throws {
        let read = try Contents(Data("""
            {"format": 1, "digits": {"labels": ["0"], "side": 28}, "write": {"ends": [3], "context": 64, "window": null},
             "caption": {"start": 1, "end": 2, "limit": 20, "side": 64}}
            """.utf8))
        XCTAssertEqual(read.caption?.limit, 20)
        XCTAssertEqual(read.write?.ends, [3])
        XCTAssertNil(read.write?.window)
        XCTAssertNil(try Contents(Data("{\"format\": 1}".utf8)).digits)
        XCTAssertThrowsError(try Contents(Data("{\"format\": 9}".utf8)))
    }

    func testProbabilities() {
        let found = softmax([1000, 999, -1000])
        XCTAssertEqual(found.reduce(0, +), 1, accuracy: 1e-12)
        XCTAssertEqual(found[0] / found[1], 2.718281828459045, accuracy: 1e-9)
    }
}
