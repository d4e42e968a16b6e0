/** What a person can do something about; the message is shown as it is. */
export class Failure extends Error {}
