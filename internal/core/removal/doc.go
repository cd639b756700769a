// Package removal takes layers out of a store, and what interrupted operations have left there.
package removal
