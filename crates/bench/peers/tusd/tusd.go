//go:build tools

// Names the program that is built; it is not compiled itself.
package tusd

import _ "github.com/tus/tusd/v2/cmd/tusd"
