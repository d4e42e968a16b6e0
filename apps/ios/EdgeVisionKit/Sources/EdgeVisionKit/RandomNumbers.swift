/// The draws of `numpy.random.default_rng((seed, index))`: PCG64 (O'Neill, 2014) seeded by a `SeedSequence`.
///
/// 128-bit numbers are pairs of their high and low 64 bits.
public struct RandomNumbers {
    private var state: Wide
    private let increment: Wide

    public init(seed: Int, index: Int = 0) {
        let words = SeedSequence(entropy: [seed, index]).words(8)
        let numbers = (0..<4).map { UInt64(words[2 * $0]) | UInt64(words[2 * $0 + 1]) << 32 }
        let stream = Wide(high: numbers[2], low: numbers[3])
        increment = Wide(high: stream.high << 1 | stream.low >> 63, low: stream.low << 1 | 1)
        state = increment &+ Wide(high: numbers[0], low: numbers[1])
        step()
    }

    /// A number in [0, 1) with 53 bits.
    public mutating func next() -> Double {
        step()
        let mixed = state.high ^ state.low, turn = state.high >> 58
        let bits = mixed >> turn | mixed << ((64 - turn) & 63)
        return Double(bits >> 11) * 0x1p-53
    }

    private mutating func step() {
        state = state &* Wide(high: 2_549_297_995_355_413_924, low: 4_865_540_595_714_422_341) &+ increment
    }
}

struct Wide: Equatable {
    var high: UInt64
    var low: UInt64

    static func &+ (a: Wide, b: Wide) -> Wide {
        let (low, carry) = a.low.addingReportingOverflow(b.low)
        return Wide(high: a.high &+ b.high &+ (carry ? 1 : 0), low: low)
    }

    static func &* (a: Wide, b: Wide) -> Wide {
        let (carried, low) = a.low.multipliedFullWidth(by: b.low)
        return Wide(high: carried &+ a.high &* b.low &+ a.low &* b.high, low: low)
    }
}

/// NumPy's `SeedSequence`: spreads a few numbers over a pool of 4 words of 32 bits.
struct SeedSequence {
    private var pool: [UInt32]

    init(entropy: [Int]) {
        var words: [UInt32] = []
        for number in entropy {
            var rest = UInt64(number)
            repeat {
                words.append(UInt32(truncatingIfNeeded: rest))
                rest >>= 32
            } while rest > 0
        }
        var constant: UInt32 = 0x43b0_d7e5
        func hashed(_ word: UInt32) -> UInt32 {
            var value = word ^ constant
            constant = constant &* 0x931e_8875
            value = value &* constant
            return value ^ value >> 16
        }
        func mixed(_ x: UInt32, _ y: UInt32) -> UInt32 {
            let value = 0xca01_f9dd &* x &- 0x4973_f715 &* y
            return value ^ value >> 16
        }
        pool = (0..<4).map { hashed($0 < words.count ? words[$0] : 0) }
        for source in 0..<4 {
            for target in 0..<4 where source != target {
                pool[target] = mixed(pool[target], hashed(pool[source]))
            }
        }
        for word in words.dropFirst(4) {
            for target in 0..<4 { pool[target] = mixed(pool[target], hashed(word)) }
        }
    }

    func words(_ count: Int) -> [UInt32] {
        var constant: UInt32 = 0x8b51_f9dd
        return (0..<count).map { place in
            var value = pool[place % 4] ^ constant
            constant = constant &* 0x58f3_8ded
            value = value &* constant
            return value ^ value >> 16
        }
    }
}
