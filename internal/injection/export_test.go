package injection

var (
	Patch   = patch
	Timeout = defaultTimeout
)

const MaxReview = maxReview
