import Foundation

/// What a person is told when something cannot be done.
public struct Failure: LocalizedError, Equatable {
    public let message: String

    public init(_ message: String) { self.message = message }

    public var errorDescription: String? { message }
}
