// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimFor, ClaimRecord, Payout} from "./Types.sol";

/// @title From claims to balances
/// @notice The node proposes a payout list of contributors. After the review period everything that a claim owes is
/// credited in one step, including the node's own share. Nobody is paid before that list is final.
interface IAttributionRewards {
    /// @notice The first reason not to pay a signed withdrawal. The numbers are in {WithdrawSkipped} and never change.
    enum SkipCode {
        None, // 0: it is paid; never emitted
        PastDeadline, // 1
        OtherNonce, // 2: not the account's next nonce
        OverBalance, // 3
        NoRecipient, // 4: recipient 0
        BadSignature, // 5: the account did not sign it
        Untransferable // 6: the token refuses the recipient; the nonce is used, and the balance stays
    }

    /// @notice How far a claim has come. `FinalizedLate`: nothing was proposed for it in time.
    enum State {
        None,
        Proposed,
        Finalized,
        FinalizedLate
    }

    /// @notice The proposal for a claim. Of its payout list only the hash is stored.
    struct Proposal {
        bytes32 attributionRoot;
        bytes32 payoutsHash;
        uint32 leafCount;
        uint64 readyAt;
        State state;
    }

    /// @notice released = credited + notified, and credited = paidOut + Σ balances.
    struct Totals {
        uint128 released;
        uint128 credited;
        uint128 notified;
        uint128 paidOut;
    }

    /// @notice A payout list was proposed. The chain stores only its hash, and {finalize} asks for all of it.
    event Proposed(
        address indexed node,
        uint64 indexed seq,
        bytes32 attributionRoot,
        uint32 leafCount,
        Payout[] payouts,
        uint64 readyAt
    );
    event Finalized(address indexed node, uint64 indexed seq, bool late);
    /// @param role 0 node, 1 owner of an adapter or of a Datanet (a claim's credits), 3 contributor, 4 treasury of a
    /// Datanet, 5 protocol.
    event Credited(address indexed account, address indexed node, uint64 seq, uint128 amount, uint8 role);
    event StakersNotified(uint128 amount);
    event Withdrawn(address indexed account, address to, uint128 amount);
    /// @notice A signed withdrawal was not paid.
    event WithdrawSkipped(address indexed account, uint256 nonce, SkipCode code);

    error ZeroAddress();
    error UnknownClaim(address node, uint64 seq);
    error AlreadyProposed(address node, uint64 seq);
    error NotProposed(address node, uint64 seq, State state);
    error ProposeOver(uint64 deadline);
    error ProposeNotOver(uint64 deadline);
    error NotReady(uint64 readyAt);
    error NotSigner(address node, address signer);
    error TooMany(string what, uint256 count, uint256 max);
    error UnknownPot(uint16 pot, uint256 pots);
    error PayoutsNotAscending(uint256 index);
    error ZeroWeight(uint256 index);
    error BadWeights(uint16 pot, uint256 sum, uint256 expected);
    error BadLeaves(bytes32 attributionRoot, uint32 leafCount, uint256 payouts);
    error PayoutsMismatch(bytes32 proposed, bytes32 given);
    error InsufficientBalance(address account, uint128 balance, uint128 amount);
    error LengthMismatch(uint256 claims, uint256 signatures);

    /// @notice Propose who gets the pots of a claim, once, within the propose window after the claim. Payouts ascend by
    /// (pot, account), and the weights of a listed pot sum to 1,000,000 · gross. An active signer of the node calls it,
    /// or anybody with such a signer's signature.
    function propose(
        ClaimRecord calldata record,
        bytes32 attributionRoot,
        uint32 leafCount,
        Payout[] calldata payouts,
        bytes calldata nodeSignature
    ) external;

    /// @notice Credit everybody once the review period is over. A payout is `pot.amount · weight / (1,000,000 ·
    /// pot.gross)`, rounded down. The rest of a pot goes to its Datanet's treasury. A pot that is not listed at all
    /// goes to the protocol.
    function finalize(ClaimRecord calldata record, Payout[] calldata payouts) external;

    /// @notice Finalize a claim for which nothing was proposed in time. Its pots and 10 % of the node's share go to the
    /// protocol.
    function finalizeLate(ClaimRecord calldata record) external;

    /// @notice Send `amount` of the caller's balance to `to`.
    function withdraw(address to, uint128 amount) external;

    /// @notice Pay withdrawals that accounts have signed, at most 256. A bad one is skipped and does not stop the
    /// others.
    function withdrawFor(ClaimFor[] calldata claims, bytes[] calldata signatures) external;

    /// @notice What an account can withdraw.
    function balanceOf(address account) external view returns (uint128);

    /// @notice The nonce that the account's next signed withdrawal must have.
    function nonceOf(address account) external view returns (uint256);

    /// @notice The proposal for a claim; all values are 0 if there is none.
    function proposalOf(address node, uint64 seq)
        external
        view
        returns (bytes32 attributionRoot, uint32 leafCount, bytes32 payoutsHash, uint64 readyAt, State state);

    /// @notice Sums over all claims, from which anybody can check the contract's balance.
    function totals() external view returns (Totals memory);
}
