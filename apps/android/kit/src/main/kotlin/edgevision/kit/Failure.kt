package edgevision.kit

/** What a person is told when something cannot be done. */
class Failure(message: String) : Exception(message)
