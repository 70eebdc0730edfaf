package certificate

var (
	EncodeState = encodeState
	ParseState  = parseState
)
