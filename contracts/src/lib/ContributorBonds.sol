// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ContributorBond, IContributorBonds, SignedBatch} from "../interfaces/IContributorBonds.sol";
import {Signatures} from "./Signatures.sol";
import {Tokens} from "./Tokens.sol";

/// @dev See {IContributorBonds}. The registry says who owns and curates a Datanet.
abstract contract ContributorBonds is IContributorBonds, EIP712 {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;

    bytes32 private constant OFFER_ROWS_TYPE = keccak256(
        "OfferRows(bytes32 datanetId,address account,string licence,string consent,uint32 rows,bytes32 rowsRoot)"
    );
    bytes32 private constant FORFEIT_BOND_TYPE = keccak256(
        "ForfeitBond(bytes32 datanetId,address account,bytes32 rowsRoot,uint128 amountMax,bytes32 reason)"
    );

    IERC20 public immutable token;
    address public immutable protocolTreasury;
    uint64 private immutable _unbonding;

    uint128 private _bondsPosted;
    uint128 private _bondsTakenBack;
    uint128 private _bondsForfeited;
    mapping(bytes32 id => mapping(address account => ContributorBond)) private _bonds;
    /// @dev Without this, approvals that were used once could take what the account posts later.
    mapping(bytes32 id => mapping(address account => mapping(bytes32 rowsRoot => bool))) private _isForfeited;

    constructor(IERC20 token_, address protocolTreasury_, uint64 unbonding) {
        if (protocolTreasury_ == address(0)) revert ZeroBondTreasury();
        (token, protocolTreasury, _unbonding) = (token_, protocolTreasury_, unbonding);
    }

    /// @inheritdoc IContributorBonds
    function postBond(bytes32 id, address account, uint128 amount, bytes32 deciders) external {
        _postBond(id, account, amount, deciders);
    }

    /// @inheritdoc IContributorBonds
    function postBondWithPermit(
        bytes32 id,
        address account,
        uint128 amount,
        bytes32 deciders,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        token.tryPermit(amount, deadline, v, r, s);
        _postBond(id, account, amount, deciders);
    }

    /// @inheritdoc IContributorBonds
    function startTakeBack(bytes32 id, uint128 amount) external {
        ContributorBond storage bond = _heldBond(id, msg.sender);
        if (amount > bond.held) revert NotSoMuchHeld(amount, bond.held);
        uint64 readyAt = uint64(block.timestamp) + _unbonding;
        (bond.leaving, bond.readyAt) = (amount, readyAt);
        emit BondLeaving(id, msg.sender, amount, readyAt);
    }

    /// @inheritdoc IContributorBonds
    function takeBackBond(bytes32 id) external returns (uint128 amount) {
        ContributorBond storage bond = _bonds[id][msg.sender];
        amount = bond.leaving;
        if (amount == 0) revert NothingLeaving(id, msg.sender);
        if (block.timestamp < bond.readyAt) revert StillLeaving(bond.readyAt);
        (bond.held, bond.leaving) = (bond.held - amount, 0);
        _bondsTakenBack += amount;
        emit BondTakenBack(id, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IContributorBonds
    function forfeitBond(
        bytes32 id,
        address account,
        SignedBatch calldata batch,
        uint128 amountMax,
        bytes32 reason,
        bytes[] calldata approvals
    ) external returns (uint128 amount) {
        (address owner,, uint32 need) = _decidersOf(id);
        ContributorBond storage bond = _heldBond(id, account);
        if (msg.sender != owner) revert NotBondDecider(id, msg.sender);
        _requireDeciders(id, bond.deciders);
        _requireSigned(id, account, batch);
        if (_isForfeited[id][account][batch.rowsRoot]) revert ForfeitedBefore(id, account, batch.rowsRoot);
        if (approvals.length < need) revert MissingApprovals(need, approvals.length);
        _curatorsWhoSigned(
            id, keccak256(abi.encode(FORFEIT_BOND_TYPE, id, account, batch.rowsRoot, amountMax, reason)), approvals
        );
        // Not more than there is, so that an account that takes back a part meanwhile does not save the rest.
        amount = amountMax < bond.held ? amountMax : bond.held;
        if (amount == 0) revert ZeroAmount();
        _isForfeited[id][account][batch.rowsRoot] = true;
        bond.held -= amount;
        if (bond.leaving > bond.held) bond.leaving = bond.held;
        _bondsForfeited += amount;
        emit BondForfeited(id, account, batch.rowsRoot, amount, reason);
        token.safeTransfer(protocolTreasury, amount);
    }

    /// @inheritdoc IContributorBonds
    function bondOf(bytes32 id, address account) external view returns (ContributorBond memory) {
        return _bonds[id][account];
    }

    /// @inheritdoc IContributorBonds
    function decidersOf(bytes32 id) public view returns (bytes32) {
        (address owner, address[] memory curators, uint32 need) = _decidersOf(id);
        return keccak256(abi.encode(owner, curators, need));
    }

    /// @inheritdoc IContributorBonds
    function bondTotals() external view returns (uint128 posted, uint128 takenBack, uint128 forfeited) {
        return (_bondsPosted, _bondsTakenBack, _bondsForfeited);
    }

    /// @dev Reverts if there is no such Datanet.
    function _decidersOf(bytes32 id)
        internal
        view
        virtual
        returns (address owner, address[] memory curators, uint32 need);

    /// @dev Reverts unless each signature over `content` is of another curator, ascending.
    function _curatorsWhoSigned(bytes32 id, bytes32 content, bytes[] calldata signatures)
        internal
        view
        virtual
        returns (address[] memory signers);

    function _postBond(bytes32 id, address account, uint128 amount, bytes32 deciders) private {
        ContributorBond storage bond = _bonds[id][account];
        uint128 held = bond.held;
        bool isOwn = msg.sender == account;
        _requireDeciders(id, deciders);
        if (account == address(0)) revert ZeroAccount();
        if (amount == 0 && !(isOwn && held > 0)) revert ZeroAmount();
        // F: a stranger's wei would put the whole bond under deciders to whom its account never agreed.
        if (!isOwn && held > 0 && bond.deciders != deciders) revert OtherDeciders(id, bond.deciders, deciders);
        (bond.held, bond.deciders) = (held + amount, deciders);
        _bondsPosted += amount;
        emit BondPosted(id, account, msg.sender, amount, deciders);
        if (amount > 0) token.pull(amount);
    }

    function _heldBond(bytes32 id, address account) private view returns (ContributorBond storage bond) {
        bond = _bonds[id][account];
        if (bond.held == 0) revert NoContributorBond(id, account);
    }

    function _requireDeciders(bytes32 id, bytes32 agreed) private view {
        bytes32 current = decidersOf(id);
        if (agreed != current) revert OtherDeciders(id, agreed, current);
    }

    /// @dev F: an owner could invent a batch, and forfeit the bond of somebody who never offered one.
    function _requireSigned(bytes32 id, address account, SignedBatch calldata batch) private view {
        bytes32 content = keccak256(
            abi.encode(
                OFFER_ROWS_TYPE, id, account, batch.licenceHash, batch.consentHash, batch.rows, batch.rowsRoot
            )
        );
        address signer = Signatures.signerOf(_hashTypedDataV4(content), batch.signature);
        if (signer == address(0) || signer != account) revert NotSignedBy(account, signer);
    }
}
