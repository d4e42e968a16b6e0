/// A model that says what is on a picture, whatever computes it.
public protocol Captioner {
    associatedtype Seen
    /// What the decoder needs of a picture, computed once.
    func look(_ picture: Picture) async throws -> Seen
    /// `count` sentences about it, at the beginning.
    func rows(_ seen: Seen, count: Int) throws -> any Rows
}

extension Captioner {
    /// The best sentences about a picture of any size, best first: by beams, or drawn where there is one beam.
    public func captions(
        _ picture: Picture, _ model: Contents.Caption, beams: Int = 3, sampling: Sampling = Sampling()
    ) async throws -> [Sentence] {
        let begun = try rows(try await look(picture.squeezed(model.side)), count: max(beams, 1))
        if beams > 1 {
            return try await search(begun, start: model.start, end: model.end, beams: beams, limit: model.limit)
        }
        return try await draw(begun, start: model.start, end: model.end, limit: model.limit, sampling: sampling)
    }
}

