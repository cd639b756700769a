// Package conversion brings layers, where they are, from one form of whiteouts to the other.
package conversion
