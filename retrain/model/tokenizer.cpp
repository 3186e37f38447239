#include "retrain/model/tokenizer.h"
