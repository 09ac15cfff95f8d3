/* Every method there is: one line each. Adding one: src/method/NAME.c with its table, a line here, configs/method/NAME.yaml. */
METHOD(method_lora)
METHOD(method_full)
METHOD(method_bitfit)
METHOD(method_head)
