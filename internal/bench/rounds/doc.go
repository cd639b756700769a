// Package rounds runs the programs of package bench in turn: one case after the other, each for some rounds, and in
// each round one program after the other.
package rounds
