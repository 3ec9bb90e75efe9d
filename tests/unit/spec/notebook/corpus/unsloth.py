# %%
%%capture
import os
if "COLAB_" not in "".join(os.environ.keys()):
    !pip install unsloth
else:
    !pip install --no-deps unsloth {extra}
# %%
from unsloth import FastLanguageModel
max_seq_length = 2048 # any
dtype = None
load_in_4bit = True
model, tokenizer = FastLanguageModel.from_pretrained(model_name = "unsloth/tiny-bnb-4bit", max_seq_length = max_seq_length, dtype = dtype, load_in_4bit = load_in_4bit)
# %%
model = FastLanguageModel.get_peft_model(
    model, r = 16, target_modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",],
    lora_alpha = 16, lora_dropout = 0, bias = "none", use_gradient_checkpointing = "unsloth", random_state = 3407, use_rslora = False)
# %%
prompt = """Do it.

### In:
{}

### Out:
{}"""
EOS_TOKEN = tokenizer.eos_token
def formatting_prompts_func(examples):
    texts = []
    for q, a in zip(examples["input"], examples["output"]):
        texts.append(prompt.format(q, a) + EOS_TOKEN)
    return { "text" : texts, }
from datasets import load_dataset
dataset = load_dataset("acme/alpaca", split = "train")
dataset = dataset.map(formatting_prompts_func, batched = True,)
# %%
from trl import SFTTrainer, SFTConfig
trainer = SFTTrainer(model = model, tokenizer = tokenizer, train_dataset = dataset, dataset_text_field = "text", max_seq_length = max_seq_length, packing = False,
    args = SFTConfig(per_device_train_batch_size = 2, gradient_accumulation_steps = 4, warmup_steps = 5, max_steps = 60, learning_rate = 2e-4, optim = "adamw_8bit",
        weight_decay = 0.01, lr_scheduler_type = "linear", seed = 3407, output_dir = "outputs"))
trainer_stats = trainer.train()
# %%
model, tokenizer = FastLanguageModel.from_pretrained(model_name = "lora_model", load_in_4bit = False)
