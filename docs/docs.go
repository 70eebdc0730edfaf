// Package docs carries the pages that the command line shows.
package docs

import (
	"embed"

	"github.com/openpodidentity/podid/problem"
)

//go:embed problems/*.md
var pages embed.FS

// Problem is the page of a problem code.
func Problem(code problem.Code) (string, error) {
	page, err := pages.ReadFile("problems/" + string(code) + ".md")
	return string(page), err
}
