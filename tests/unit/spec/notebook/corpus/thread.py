# %% [markdown]
# Fine-tune Llama 3 for sentiment, on Kaggle
# %%
%%capture
!pip install -q -U bitsandbytes peft trl \
    accelerate transformers
# %%
import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import SFTTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainingArguments
# %%
filename = "/kaggle/input/sentiment-news/all-data.csv"
df = pd.read_csv(filename, names=["sentiment", "text"], encoding="utf-8", encoding_errors="replace")
X_train = df.sample(frac=0.9, random_state=42)

def generate_prompt(data_point):
    return f"""
            Say how the headline feels, as one word.

            [{data_point["text"]}] = {data_point["sentiment"]}
            """.strip()

X_train = pd.DataFrame(X_train.apply(generate_prompt, axis=1), columns=["text"])
train_data = Dataset.from_pandas(X_train)
# %%
model_name = "/kaggle/input/llama-3/transformers/8b-chat-hf/1"
compute_dtype = getattr(torch, "float16")
bnb_config = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_use_double_quant=False,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype=compute_dtype,
)
model = AutoModelForCausalLM.from_pretrained(model_name, device_map="auto", torch_dtype=compute_dtype, quantization_config=bnb_config)
model.config.use_cache = False
max_seq_length = 2048
tokenizer = AutoTokenizer.from_pretrained(model_name, max_seq_length=max_seq_length)
# %%
output_dir = "trained_weights"
peft_config = LoraConfig(lora_alpha=16, lora_dropout=0, r=64, bias="none", target_modules="all-linear", task_type="CAUSAL_LM")
training_arguments = TrainingArguments(
    output_dir=output_dir,
    num_train_epochs=3,
    per_device_train_batch_size=1,
    gradient_accumulation_steps=8,
    gradient_checkpointing=True,
    optim="paged_adamw_32bit",
    save_steps=0,
    logging_steps=25,
    learning_rate=2e-4,
    weight_decay=0.001,
    fp16=True,
    max_grad_norm=0.3,
    max_steps=-1,
    warmup_ratio=0.03,
    group_by_length=False,
    lr_scheduler_type="cosine",
)
trainer = SFTTrainer(
    model=model,
    args=training_arguments,
    train_dataset=train_data,
    peft_config=peft_config,
    dataset_text_field="text",
    tokenizer=tokenizer,
    max_seq_length=max_seq_length,
    packing=False,
    dataset_kwargs={"add_special_tokens": False, "append_concat_token": False},
)
# %%
trainer.train()
#>> <div><progress value='336' max='336'></progress>
#>>   [336/336 42:28, Epoch 2/3]
#>> </div>
#>> TrainOutput(global_step=336, training_loss=0.6, metrics={'train_runtime': 2548.6, 'train_samples_per_second': 1.05})
# %%
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained("trained_weights", low_cpu_mem_usage=True)
merged = model.merge_and_unload()
model_name = "merged_model"
