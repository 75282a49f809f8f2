//! One parameter called `input` is the whole body, and a `main` is named after its module.

#[task]
pub async fn main(input: Input, ctx: Context) -> Output {
    work(input, ctx).await
}
