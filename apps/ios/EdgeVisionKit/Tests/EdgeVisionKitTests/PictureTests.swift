import XCTest

@testable import EdgeVisionKit

final class PictureTests: XCTestCase {
    private let filters: [String: Filter] = ["box": .box, "bilinear": .bilinear, "bicubic": .bicubic]

    func testPixelsArePillows() throws {
        for fixture in try Fixtures.read().pictures {
            let bytes = Array(try Fixtures.data(fixture.raw))
            let picture = Picture(
                width: fixture.width, height: fixture.height, channels: fixture.channels, bytes: bytes)
            for entry in fixture.resized {
                let made = picture.resized(
                    width: entry.width, height: entry.height, filter: try XCTUnwrap(filters[entry.filter]))
                XCTAssertEqual(Data(made.bytes), entry.bytes, "\(fixture.name) \(entry.filter)")
            }
            for entry in fixture.seen {
                XCTAssertEqual(Data(picture.squeezed(entry.side).bytes), entry.bytes, "\(fixture.name) \(entry.side)")
            }
        }
    }

    func testDigitsArePythons() throws {
        for fixture in try Fixtures.read().digits {
            let bytes = Array(try Fixtures.data(fixture.raw))
            let picture = Picture(
                width: fixture.width, height: fixture.height, channels: fixture.channels, bytes: bytes)
            XCTAssertEqual(picture.digit().map { Data($0.bytes) }, fixture.digit, fixture.name)
        }
        let empty = Picture(width: 50, height: 40, channels: 1, bytes: [UInt8](repeating: 0, count: 2000))
        XCTAssertNil(empty.digit())
    }

    func testNormalisedValues() {
        let picture = Picture(width: 1, height: 1, channels: 3, bytes: [0, 51, 255])
        XCTAssertEqual(picture.unitRange, [0, 0.2, 1])
        let bright = Picture(width: 1, height: 1, channels: 3, bytes: [0, 255, 255])
        XCTAssertEqual(bright.normalized(scale: 1 / 255, mean: [0.5, 0, 0.5], std: [0.5, 0.25, 2]), [-1, 4, 0.25])
    }
}
