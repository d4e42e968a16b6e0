import XCTest

@testable import EdgeVisionKit

final class RandomNumbersTests: XCTestCase {
    func testDrawsAreNumPys() {
        var random = RandomNumbers(seed: 5, index: 3)
        XCTAssertEqual(random.next(), 0.7118248657721978)
        XCTAssertEqual(random.next(), 0.0449808645727906)
        XCTAssertEqual(random.next(), 0.639093666561746)
        var large = RandomNumbers(seed: 1 << 40 + 7)
        XCTAssertEqual(large.next(), 0.829812891829413)
    }
}
