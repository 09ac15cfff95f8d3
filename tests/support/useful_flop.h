/* The arithmetic that a training step cannot do without: what "share of peak" divides by the peak.
 *
 * Only products on real tokens count, each multiply-add as two FLOP; norms, activations, softmax, dropout, biases and the optimiser are in a step's time, not
 * in its FLOP. With n tokens, S = sum of squared lengths, s sequences, width d, inner width f, per layer:
 *
 *   frozen maps    forward   2 n (4 d^2 + 2 d f)          as much again for the gradients of their inputs, down to the lowest place that is trained (the q, k,
 * v maps of the lowest adapted layer want none) trained maps   gradient  2 n in out                   of each trained weight attention      forward   2
 * products of 2 S d          backward 4 (P' dO, dO V', dS K, dS' Q), of which the lowest layer needs those that lead to something trained (LoRA on q and v: not
 * dS' Q) adapters       forward   2 n r (in + out) a site      backward the same for the branch's input and hidden gradients (the input's only if something
 * below is trained), and the same for the two factors (VeRA's are frozen) head           forward   2 s d classes                twice that backward (once, if
 * only the head is trained); a dense tanh layer likewise with d^2
 *
 * Where the head reads the first token alone, the last layer counts q, o, up and down and their adapters on s rows instead of n, and attention's n d in
 * place of S d.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_TESTS_USEFUL_FLOP_H
#define PEFTSCALE_TESTS_USEFUL_FLOP_H

#include "model/model.h"

typedef struct useful_flop {
  double maps_forward, maps_backward, maps_trained, attention_forward, attention_backward, adapter_forward, adapter_backward, head;
  double total;
} useful_flop;

/* Of one step, or of the sum over several. tokens, squares, sequences: of the batch. Methods other than LoRA, VeRA, Tied-LoRA, VB-LoRA and Uni-LoRA are counted
 * without products of their own (RED, BitFit, full and head have none; GLoRA's are left out, so its share is too low). Masked language modelling: without its
 * head. */
useful_flop useful_flop_count(const model *m, double tokens, double squares, double sequences);

#endif
